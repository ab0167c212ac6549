"""Pages: text is read wherever it stands, words stay whole and tables keep their columns."""

import time

import pytest

from resift.errors import SourceError
from resift.index.parsing.documents import ParsedDocument
from resift.index.parsing.formats import parse


def outline(document: ParsedDocument) -> list[tuple[str, str]]:
    return [(s.heading, document.text[s.start : s.end].strip()) for s in document.sections]


def page(html: str | bytes, key: str = "p.html") -> ParsedDocument:
    parsed = parse(key, html.encode() if isinstance(html, str) else html)
    assert not parsed.problems
    (document,) = parsed.documents
    covered = "".join(document.text[s.start : s.end] for s in document.sections)
    assert "".join(covered.split()) == "".join(document.text.split())
    return document


@pytest.mark.parametrize(
    "html",
    [
        "<form method=post><input type=hidden value=x><div>TEXT</div></form>",
        "<body><form><main><article><section>TEXT</section></article></main></form>",
        "<main><main><article><article>TEXT</article></article></main></main>",
        "<details><summary>TEXT</summary></details>",
        "<details>TEXT</details>",
        "<div aria-hidden=true>TEXT</div>",
        "<pre>TEXT</pre>",
        "<textarea>TEXT</textarea>",
        "<fieldset><legend>TEXT</legend></fieldset>",
        "<center>TEXT</center>",
        "<my-element>TEXT</my-element>",
        "TEXT",
        "<p>TEXT",
        "<div><p><b><i>TEXT",
        "</p></div>TEXT",
        "<base href=x><p>TEXT",
        "<!-- a > b --><p>TEXT<!-- never closed",
        "<p>TE<!-- inside -->XT",
        "<body><noscript>TEXT</noscript>",
        "<noscript><p>TEXT</noscript><script>x()</script>",
        "<body><template><p>TEXT</p></template>",
        "<my-app><template shadowrootmode=open><p>TEXT</p></template></my-app>",
        "<dialog>TEXT</dialog>",
        "<button>TEXT</button>",
        "<nav><a href=x>TEXT</a></nav>",
        "<select><option>TEXT</select>",
        "<table><tr><td>TEXT</table>",
        "<table>TEXT</table>",
        "<table><caption>TEXT</caption></table>",
        "<table><tr><td><nav>TEXT</nav></table>",
        "\ufeff<?xml version='1.0' encoding='UTF-8'?>\n<!DOCTYPE html>\n<html><body>TEXT</html>",
        "<?xml version='1.0'?><html><head><title/><script src='x'/></head><body><a/><p>TEXT</body>",
        "<?xml version='1.0'?><html><body><p><![CDATA[TEXT]]></p></body></html>",
    ],
)
def test_text_is_read_wherever_it_stands(html: str) -> None:
    assert page(html).text == "TEXT"


def test_what_stands_round_a_text_is_read_only_where_there_is_no_text() -> None:
    around = "<nav>menu</nav><button>buy</button><noscript>no</noscript><select><option>o</select>"
    assert page(f"{around}<p>Text.</p>").text == "Text."
    assert page(f"<body>{around}").text == "menu\n\nbuy\n\nno\n\no"


@pytest.mark.parametrize(
    "html",
    ["<script>x</script>", "<iframe src=x></iframe>", "<body></body>", "<!-- c -->", "<svg/>"],
)
def test_a_page_without_text_says_so(html: str) -> None:
    with pytest.raises(SourceError, match="no text in it"):
        page(html)


def test_a_page_of_frames_says_where_its_text_is() -> None:
    with pytest.raises(SourceError, match="a page of frames"):
        page("<frameset><frame src=a><noframes>no frames</noframes></frameset>")


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("foo<b>bar</b>baz", "foobarbaz"),
        ("foo<!-- x -->bar<wbr>baz", "foobarbaz"),
        ("foo<script>x</script>bar", "foobar"),
        ("<b>foo</b> <i>bar</i>", "foo bar"),
        ("foo<br>bar<br/>baz", "foo\nbar\nbaz"),
        ("<div>foo</div>bar<div>baz</div>", "foo\n\nbar\n\nbaz"),
        ("<li>foo<li>bar", "foo\nbar"),
        ("<dt>foo<dd>bar", "foo\nbar"),
        ("foo&nbsp;bar&#160;baz&ensp;x", "foo bar baz x"),
        ("&eacute&amp;&lt &copy 2020 &notin; &#x41 AT&T", "é&< © 2020 ∉ A AT&T"),
        ("foo\u2028bar", "foo bar"),
    ],
)
def test_words_are_neither_glued_nor_split(html: str, text: str) -> None:
    assert page(f"<body>{html}").text == text


@pytest.mark.parametrize("declared", ["utf-16", "utf-32", "cp037", "utf-7", "nonsense", "x-user"])
def test_a_charset_that_cannot_be_true_is_not_believed(declared: str) -> None:
    html = f"<meta charset={declared}><p>Müller und Söhne"
    assert page(html).text == "Müller und Söhne"
    assert page(html.encode("cp1252")).text == "Müller und Söhne"


def test_a_charset_that_lies_about_utf8_is_not_believed() -> None:
    assert page("<meta charset=iso-8859-1><p>Müller, 日本語").text == "Müller, 日本語"
    assert page("<meta charset=utf-8><p>Müller".encode("cp1252")).text == "Müller"


def test_pages_nest_deep() -> None:
    assert page("<div>" * 10_000 + "bottom").text == "bottom"
    tables = "<table><tr><td>" * 300 + "bottom"
    assert page(tables).text == "bottom"
    heads = "<table><tr><th>" * 300 + "bottom"
    assert page(heads).text == "bottom"


ROWS = "<tr><th>Name<th>Age<th>City</tr><tr><td>Ann<td><td>Rome</tr><tr><td><td>7<td></tr>"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        (f"<table>{ROWS}</table>", "Name | Age | City\nAnn |  | Rome\n| 7 |"),
        ("<table><tr><td>a</td><td>b</td></tr></table>", "a | b"),
        ("<table><tr><td>a<td>b<tr><td>c<td>d</table>", "a | b\nc | d"),
        ("x<table><caption>Cap</caption><tr><td>a<td>b</table>y", "x\n\nCap\n\na | b\n\ny"),
        ("<table><tr><td colspan=2>a<td>b<tr><td>c<td>d<td>e</table>", "a |  | b\nc | d | e"),
        ("<table><tr><td rowspan=2>a<td>b<tr><td>c</table>", "a | b\na | c"),
        ("<table><tr><td>x<td rowspan=3 colspan=2>a<tr><td>y<tr><td>z<td>w</table>",
         "x | a |\ny | a |\nz | a |  | w"),
        ("<table><tr><td rowspan=0 colspan=-1>a<td colspan=x rowspan=9999999999>b</table>",
         "a | b"),
        ("<table><tr><td><p>a</p><p>b</p><td>c<br>d<tr><td>e<ul><li>f<li>g</ul></table>",
         "a b | c d\ne f g"),
        ("<table><tr><td> <td></tr><tr><td>a<td>b</table>", "a | b"),
        ("<table><thead><tr><td>h<tbody><tr><td>a</tbody><tfoot><tr><td>f</table>", "h\na\nf"),
        ("<table><tr><td>fo<b>o</b><td>b</table>", "foo | b"),
        # Layouts: their cells are blocks.
        ("<table role=presentation><tr><td>a<td>b</table>", "a\nb"),
        ("<table><tr><td><h2>One</h2>a<td>b</table>", "One\n\na\nb"),
        ("<table><tr><td><p>a</p><p>b</p><td>c</table>", "a\n\nb\n\nc"),
        ("<table><tr><td><pre>a\n b</pre></table>", "a\n b"),
        (f"<table><tr><td>left<td><table>{ROWS}</table></table>",
         "left\n\nName | Age | City\nAnn |  | Rome\n| 7 |"),
        # In a table that names its columns another one is a cell's text.
        ("<table><tr><th>a<th>b<tr><td>c<td><table><tr><td>d<td>e</table></table>",
         "a | b\nc | d e"),
    ],
)  # fmt: skip
def test_a_table_keeps_rows_and_columns(html: str, text: str) -> None:
    assert page(f"<body>{html}").text == text


def test_a_heading_in_a_layout_is_one_and_in_a_table_is_a_cell() -> None:
    layout = page("<table><tr><td><h2>One</h2>a</td></tr></table>")
    assert [s.heading for s in layout.sections] == ["One"]
    data = page("<h2>Top</h2><table><tr><th>x<th>y<tr><td><h3>One</h3><td>a</table>")
    assert [s.heading for s in data.sections] == ["Top"]
    assert data.text == "Top\n\nx | y\nOne | a"


def test_spans_that_a_page_only_claims_cost_nothing() -> None:
    started = time.thread_time()
    cell = "<td rowspan=65534 colspan=1000>" + "x" * 10_000
    text = page(f"<table><tr>{cell}</tr>{'<tr><td>y</tr>' * 2_000}</table>").text
    assert len(text) < 1_000_000
    assert text.count("y") == 2_000
    assert time.thread_time() - started < 5


def test_a_page_under_the_name_of_a_text_is_read_as_a_page() -> None:
    html = "<!DOCTYPE html>\n<html><head><title>T</title></head><body><p>Text.</body></html>"
    for key in ("a.txt", "a.md", "A.TXT"):
        document = page(html, key)
        assert (document.title, document.text) == ("T", "Text.")
    assert page("<p align=center>A README</p>\n\n# Name", "a.md").text.startswith("<p align")


def test_a_cell_reaches_down_to_the_end_of_its_part_and_no_further() -> None:
    table = (
        "<table><thead><tr><th rowspan=2>A<th>B</thead><tbody><tr><td>1<td>2</tbody>"
        "<tbody><tr><td rowspan=0>r<td>3<tr><td>4<tr><td>5</tbody><tr><td>6<td>7</table>"
    )
    (document,) = parse("a.html", table.encode()).documents
    assert document.text == "A | B\n1 | 2\nr | 3\nr | 4\nr | 5\n6 | 7"


def test_html_is_what_a_reader_sees() -> None:
    html = b"""<html><head><title> A &amp; B </title><style>p{}</style></head><body>
    <nav>Menu</nav><script>var x</script><!-- no -->
    <h1>A &amp; B</h1><p>One <b>two</b>three,&nbsp;four.<br>Next</p>
    <pre><span>def f():</span>\n<span>    pass</span></pre>
    <h2>More <em>here</em></h2><ul><li>a</li><li>b</li></ul></body></html>"""
    document = page(html)
    assert document.title == "A & B"
    assert outline(document) == [
        ("", "A & B\n\nOne twothree, four.\nNext\n\ndef f():\n    pass"),
        ("More here", "More here\n\na\nb"),
    ]


def test_html_declares_its_charset() -> None:
    html = "<meta charset='shift_jis'><p>日本語".encode("shift_jis")
    assert page(html).text == "日本語"


def test_xml_declares_its_charset() -> None:
    html = '<?xml version="1.0" encoding="windows-1250"?><p>Zażółć'.encode("cp1250")
    assert page(html).text == "Zażółć"


def test_a_heading_before_an_empty_one_is_not_lost() -> None:
    document = page(b"<p>Text.</p><h1>Last words</h1><h2><img src='x'></h2>")
    assert "Last words" in [text for _, text in outline(document)]
