"""XML: the text of its elements, sections by titles; no entity exhausts memory or reads a file."""

import pytest
from hypothesis import given

from index.parsing.properties import any_bytes, one_document, outline, parse_or_reason
from resift.errors import SourceError
from resift.index.parsing.formats import parse

DOCBOOK = """<?xml version="1.0"?>
<!DOCTYPE book PUBLIC "-//OASIS//DTD" "docbook.dtd" [
  <!ENTITY product "Resift"> <!ENTITY full "&product; 1">]>
<book xmlns:x="u" x:id="1">
  <info><title>The &full; Book</title><author>Ann</author></info>
  <chapter>
    <title>One</title>
    <para>This is <emphasis>very</emphasis> important, see <link>there</link>.</para>
    <programlisting>a = 1
  b = 2</programlisting>
    <section><title>Sub</title><para>Deep&nbsp;text of <emphasis>it</emphasis>.</para></section>
    <para>After the section.</para>
  </chapter>
  <chapter><title>Two</title><para>More &lt;text&gt;.</para></chapter>
</book>
"""


def test_titles_of_docbook_are_sections_and_running_text_is_not_cut() -> None:
    document = one_document("a.xml", DOCBOOK)
    assert document.title == "The Resift 1 Book"
    assert outline(document) == [
        ("", "The Resift 1 Book\n\nauthor: Ann"),
        ("One", "One\n\nThis is very important, see there.\n\na = 1\n  b = 2"),
        ("One > Sub", "Sub\n\nDeep text of it."),
        ("One", "After the section."),
        ("Two", "Two\n\nMore <text>."),
    ]


def test_elements_that_are_seldom_in_running_text_are_blocks() -> None:
    text = "<doc><title>T</title><p>a</p><p>b</p><note>see <p>c</p></note></doc>"
    assert outline(one_document("a.xml", text)) == [("", "T\n\na\n\nb\n\nsee\n\nc")]


def test_a_title_that_is_cut_off_is_the_title() -> None:
    parsed = parse("a.xml", b"<doc><title>The Name")
    assert parsed.documents[0].title == "The Name"
    assert parsed.problems[0].startswith("not well-formed XML, read up to there")


def test_attributes_of_data_stand_once_before_the_fields() -> None:
    text = '<a id="1"><b>x</b><b>y</b></a>'
    assert one_document("a.xml", text).text == "a id=1:\nb: x\nb: y"


def test_items_of_a_feed_are_sections_and_their_html_is_text() -> None:
    document = one_document(
        "news.rss",
        "<rss><channel><title>News</title><item><title>First</title><link>http://a</link>"
        "<description>&lt;p&gt;Hello &lt;b&gt;you&lt;/b&gt; &amp;amp; me&lt;/p&gt;</description>"
        "</item><item><title>Second</title><description>Plain.</description></item></channel></rss>",
    )
    assert document.title == "News"
    assert outline(document) == [
        ("First", "News\n\nFirst\n\nlink: http://a\n\nHello you & me"),
        ("Second", "Second\n\nPlain."),
    ]


def test_sections_of_jats_have_titles_in_wrappers() -> None:
    document = one_document(
        "a.xml",
        "<article><front><article-meta><title-group><article-title>The <italic>p53</italic> Paper"
        "</article-title></title-group></article-meta></front><body><sec><title>Methods</title>"
        "<p>We did <italic>this</italic> here.</p></sec></body></article>",
    )
    assert document.title == "The p53 Paper"
    assert outline(document) == [("Methods", "The p53 Paper\n\nMethods\n\nWe did this here.")]


def test_data_has_the_names_and_attributes_of_its_elements() -> None:
    document = one_document(
        "beans.xml",
        '<beans><bean id="a" class="x.Y"><property name="url" value="jdbc:x"/></bean>'
        '<string name="app">Hi</string><price>12</price></beans>',
    )
    assert document.text == (
        "bean id=a class=x.Y:\nproperty name=url value=jdbc:x:\nstring name=app: Hi\nprice: 12"
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1", "shift_jis"])
def test_the_declared_encoding_is_used(encoding: str) -> None:
    name = encoding.removesuffix("-sig")
    words = "日本語の文" if encoding == "shift_jis" else "Größe"
    data = f'<?xml version="1.0" encoding="{name}"?><a>{words}</a>'.encode(encoding)
    assert words in one_document("a.xml", data).text


def test_a_page_of_xhtml_is_read_as_html() -> None:
    page = b"<?xml version='1.0'?><html><head><title>T</title></head><body>Text<br/>x</body></html>"
    assert one_document("a.xml", page).title == "T"


def test_no_entity_reads_a_file() -> None:
    entities = '<!ENTITY a SYSTEM "file:///etc/passwd"><!ENTITY % b SYSTEM "file:///etc/hosts"> %b;'
    parsed = parse("a.xml", f"<!DOCTYPE x [{entities}]><x>before &a; after</x>".encode())
    assert "root:" not in parsed.documents[0].text
    assert "before" in parsed.documents[0].text


def _laughs(levels: int, text: str) -> bytes:
    lines = [f'<!ENTITY e0 "{text}">']
    lines += [f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, levels)]
    return f"<!DOCTYPE x [{''.join(lines)}]><x>&e{levels - 1};</x>".encode()


@pytest.mark.parametrize(
    "data",
    [
        _laughs(10, "lol"),
        _laughs(5, "lol" * 100),
        f'<!DOCTYPE x [<!ENTITY a "{"a" * 50_000}">]><x>{"&a;" * 50_000}</x>'.encode(),
        b"<x>" * 100_000,
        b"<x>" * 100_000 + b"y" + b"</x>" * 100_000,
    ],
    ids=["laughs", "small laughs", "quadratic", "open", "deep"],
)
def test_what_expands_or_nests_too_much_is_refused(data: bytes) -> None:
    with pytest.raises(SourceError, match=r"entities expand to too much|nested deeper"):
        parse("a.xml", data)


def test_entities_in_attributes_are_limited_too() -> None:
    bomb = _laughs(12, "lol").partition(b"<x>")[0] + b'<x y="&e11;">z</x>'
    outcome = parse_or_reason("a.xml", bomb)
    assert isinstance(outcome, SourceError)


def test_what_comes_before_an_error_is_read() -> None:
    parsed = parse("a.xml", b"<a><b>first words</b><c>second</d></a>")
    assert "first words" in parsed.documents[0].text
    assert parsed.problems[0].startswith("not well-formed XML, read up to there: mismatched tag")
    with pytest.raises(SourceError, match="not a readable XML file"):
        parse("a.xml", b"no markup")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("<d>\n<p>before AT&T</p></d>", "before AT"),
        ("<d>before <b>bold</b> and AT&T</d>", "before bold and AT"),
        ("<d><title>Bell and AT&T</title><p>x</p></d>", "Bell and AT"),
        ("<d><p>one</p><p>two &undeclared; three</p></d>", "one\n\ntwo"),
        ("<d><p>cut off", "cut off"),
        ("<d><code xml:space='preserve'>a\n  b <", "a\n  b"),
    ],
)
def test_the_words_directly_before_an_error_are_read(data: str, text: str) -> None:
    parsed = parse("a.xml", data.encode())
    (document,) = parsed.documents
    assert document.text.strip() == text
    assert parsed.problems[0].startswith("not well-formed XML, read up to there")


def test_an_error_does_not_let_too_much_text_through() -> None:
    with pytest.raises(SourceError, match="entities expand to too much"):
        parse("a.xml", _laughs(10, "lol").replace(b"</x>", b"& "))


def test_titles_without_any_text_are_text() -> None:
    feed = "<rss><channel><title>News</title>" + "".join(
        f"<item><title>Item {n}</title></item>" for n in range(3)
    )
    document = one_document("a.rss", feed + "</channel></rss>")
    assert outline(document) == [
        ("Item 0", "News\n\nItem 0"),
        ("Item 1", "Item 1"),
        ("Item 2", "Item 2"),
    ]
    assert outline(one_document("a.xml", "<d><title>Alone</title></d>")) == [("", "Alone")]


def test_a_title_without_text_stays_where_it_stands() -> None:
    """It is not under the title of the next item, and the last one is not lost."""
    items = ["<title>A</title>", "<title>B</title><p>Text.</p>", "<title>C</title>"]
    feed = "".join(f"<item>{item}</item>" for item in items)
    document = one_document("a.xml", f"<feed><title>F</title>{feed}</feed>")
    assert outline(document) == [("A", "F\n\nA"), ("B", "B\n\nText."), ("C", "C")]


@given(
    any_bytes(
        b"<a>", b"</a>", b"<title>", b"</title>", b"<p>", b"</p>", b"text", b"&amp;", b"&nbsp;",
        b"&x;",
        b"<!DOCTYPE a [", b'<!ENTITY x "y">', b"]>", b"<![CDATA[", b"]]>", b"<!--", b"-->",
        b"<?xml ?>",
        b'<a b="c"/>', b"&#0;", b"&#xD800;", b"<x:title>", b'<pre xml:space="preserve">', b"</pre>",
        b"<description>&lt;p>", b"</description>",
    )
)  # fmt: skip
def test_any_bytes_are_xml_or_a_reason(data: bytes) -> None:
    parse_or_reason("a.xml", data)
    parse_or_reason("a.xml", b"<a>" + data + b"</a>")
