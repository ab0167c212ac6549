"""Small office files by hand: archives of the few parts that a reader looks for."""

import io
import zipfile

_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_DRAW = "http://schemas.openxmlformats.org/drawingml/2006/main"
_DECK = "http://schemas.openxmlformats.org/presentationml/2006/main"
_LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_ODF = "urn:oasis:names:tc:opendocument:xmlns"


def pack(parts: dict[str, str]) -> bytes:
    """A zip archive of these files."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return packed.getvalue()


def make_docx(paragraphs: list[tuple[str, str]], rows: list[list[str]]) -> bytes:
    """A Word file of (style, text) and, at its end, a table."""
    body = "".join(
        f'<w:p><w:pPr><w:pStyle w:val="{style}"/></w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>'
        for style, text in paragraphs
    )
    cells = "".join(
        "<w:tr>" + "".join(f"<w:tc><w:p><w:r><w:t>{c}</w:t></w:r></w:p></w:tc>" for c in row)
        + "</w:tr>"
        for row in rows
    )  # fmt: skip
    table = f"<w:tbl>{cells}</w:tbl>" if rows else ""
    document = f'<w:document xmlns:w="{_WORD}"><w:body>{body}{table}</w:body></w:document>'
    return pack({"[Content_Types].xml": "<Types/>", "word/document.xml": document})


def make_pptx(slides: list[str]) -> bytes:
    """A deck with one text box a slide."""
    parts = {"[Content_Types].xml": "<Types/>"}
    ids = ""
    links = ""
    for number, text in enumerate(slides, start=1):
        shape = (
            f'<p:sp><p:nvSpPr><p:cNvPr id="2" name="t"/><p:cNvSpPr/><p:nvPr/></p:nvSpPr><p:spPr/>'
            f"<p:txBody><a:p><a:r><a:t>{text}</a:t></a:r></a:p></p:txBody></p:sp>"
        )
        parts[f"ppt/slides/slide{number}.xml"] = (
            f'<p:sld xmlns:p="{_DECK}" xmlns:a="{_DRAW}"><p:cSld><p:spTree>{shape}'
            "</p:spTree></p:cSld></p:sld>"
        )
        ids += f'<p:sldId id="{255 + number}" r:id="rId{number}"/>'
        links += (
            f'<Relationship Id="rId{number}" Type="{_LINKS}/slide" '
            f'Target="slides/slide{number}.xml"/>'
        )
    parts["ppt/presentation.xml"] = (
        f'<p:presentation xmlns:p="{_DECK}" xmlns:r="{_LINKS}"><p:sldIdLst>{ids}</p:sldIdLst>'
        "</p:presentation>"
    )
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    parts["ppt/_rels/presentation.xml.rels"] = (
        f'<Relationships xmlns="{package}">{links}</Relationships>'
    )
    return pack(parts)


def make_xlsx(sheets: dict[str, list[list[str]]]) -> bytes:
    """A workbook of text cells."""
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    parts = {"[Content_Types].xml": "<Types/>"}
    names = links = ""
    for number, (name, rows) in enumerate(sheets.items(), start=1):
        cells = "".join(
            f'<row r="{r}">'
            + "".join(
                f'<c r="{chr(65 + c)}{r}" t="inlineStr"><is><t>{text}</t></is></c>'
                for c, text in enumerate(row)
            )
            + "</row>"
            for r, row in enumerate(rows, start=1)
        )
        parts[f"xl/worksheets/sheet{number}.xml"] = (
            f'<worksheet xmlns="{_SHEET}"><sheetData>{cells}</sheetData></worksheet>'
        )
        names += f'<sheet name="{name}" sheetId="{number}" r:id="rId{number}"/>'
        links += (
            f'<Relationship Id="rId{number}" Type="{_LINKS}/worksheet" '
            f'Target="worksheets/sheet{number}.xml"/>'
        )
    parts["xl/workbook.xml"] = (
        f'<workbook xmlns="{_SHEET}" xmlns:r="{_LINKS}"><sheets>{names}</sheets></workbook>'
    )
    parts["_rels/.rels"] = (
        f'<Relationships xmlns="{package}"><Relationship Id="rId1" '
        f'Type="{_LINKS}/officeDocument" Target="xl/workbook.xml"/></Relationships>'
    )
    parts["xl/_rels/workbook.xml.rels"] = (
        f'<Relationships xmlns="{package}">{links}</Relationships>'
    )
    return pack(parts)


def make_odt(blocks: list[tuple[int, str]]) -> bytes:
    """A text document of (heading's level or 0, text)."""
    body = "".join(
        f'<text:h text:outline-level="{level}">{text}</text:h>' if level
        else f"<text:p>{text}</text:p>"
        for level, text in blocks
    )  # fmt: skip
    content = (
        f'<office:document-content xmlns:office="{_ODF}:office:1.0" xmlns:text="{_ODF}:text:1.0">'
        f"<office:body><office:text>{body}</office:text></office:body></office:document-content>"
    )
    return pack({"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": content})


def make_epub(chapters: list[str]) -> bytes:
    """A book whose chapters are these bodies of pages."""
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0">'
        '<rootfiles><rootfile full-path="book.opf" '
        'media-type="application/oebps-package+xml"/></rootfiles></container>'
    )
    numbers = range(len(chapters))
    items = "".join(
        f'<item id="c{n}" href="c{n}.xhtml" media-type="application/xhtml+xml"/>' for n in numbers
    )
    spine = "".join(f'<itemref idref="c{n}"/>' for n in numbers)
    book = (
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata '
        'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>The Book</dc:title></metadata>'
        f"<manifest>{items}</manifest><spine>{spine}</spine></package>"
    )
    pages = {
        f"c{n}.xhtml": f'<html xmlns="http://www.w3.org/1999/xhtml"><body>{body}</body></html>'
        for n, body in enumerate(chapters)
    }
    return pack(
        {"mimetype": "application/epub+zip", "META-INF/container.xml": container,
         "book.opf": book, **pages}
    )  # fmt: skip
