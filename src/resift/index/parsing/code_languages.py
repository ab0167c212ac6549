"""The programming languages whose grammars are installed, and which of their nodes are what.

A grammar is a wheel of its own, such as tree-sitter-python. The names of nodes are the grammar's.
"""

from collections.abc import Mapping
from dataclasses import dataclass


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


@dataclass(frozen=True, slots=True)
class CodeLanguage:
    """A language: the wheel with its grammar, and the types of its syntax nodes.

    A node of `definitions` gets a section. A node of `containers` has definitions in its body.
    A node of `wrappers` only surrounds definitions: an export, a template, a condition.
    """

    module: str
    definitions: frozenset[str]
    containers: frozenset[str] = frozenset()
    wrappers: frozenset[str] = frozenset()
    grammar: str = "language"


BODIES = _names(
    "block body_statement class_body compound_statement declaration_list enum_body "
    "enum_class_body enum_body_declarations enum_variant_list field_declaration_list function_body "
    "interface_body object_type protocol_body statement_block template_body"
)
"""The types of nodes that are the body of a definition, where no field says which node is."""

COMMENTS = _names(
    "attribute_item block_comment comment decorator line_comment multiline_comment "
    "inner_attribute_item"
)
"""The types of nodes that belong to the definition after them."""

_SCRIPT_DEFINITIONS = _names(
    "function_declaration generator_function_declaration function_signature method_definition "
    "method_signature abstract_method_signature interface_declaration type_alias_declaration "
    "enum_declaration"
)
_SCRIPT_CONTAINERS = _names("class_declaration abstract_class_declaration internal_module module")
_SCRIPT_WRAPPERS = _names("export_statement ambient_declaration expression_statement")
_C_DEFINITIONS = _names("function_definition struct_specifier union_specifier enum_specifier "
                        "type_definition preproc_function_def")  # fmt: skip
_C_WRAPPERS = _names("linkage_specification preproc_if preproc_ifdef preproc_else preproc_elif "
                     "template_declaration declaration_list")  # fmt: skip

_PYTHON = CodeLanguage(
    "tree_sitter_python",
    _names("function_definition"),
    _names("class_definition"),
    _names("decorated_definition if_statement else_clause elif_clause try_statement "
           "except_clause block"),
)  # fmt: skip
_JAVASCRIPT = CodeLanguage(
    "tree_sitter_javascript", _SCRIPT_DEFINITIONS, _SCRIPT_CONTAINERS, _SCRIPT_WRAPPERS
)
_TYPESCRIPT = CodeLanguage(
    "tree_sitter_typescript", _SCRIPT_DEFINITIONS, _SCRIPT_CONTAINERS, _SCRIPT_WRAPPERS,
    "language_typescript",
)  # fmt: skip
_TSX = CodeLanguage(
    "tree_sitter_typescript", _SCRIPT_DEFINITIONS, _SCRIPT_CONTAINERS, _SCRIPT_WRAPPERS,
    "language_tsx",
)  # fmt: skip
_GO = CodeLanguage(
    "tree_sitter_go", _names("function_declaration method_declaration type_declaration")
)
_RUST = CodeLanguage(
    "tree_sitter_rust",
    _names("function_item struct_item enum_item union_item macro_definition type_item"),
    _names("impl_item trait_item mod_item"),
)
_JAVA_TYPES = _names("class_declaration interface_declaration enum_declaration "
                     "record_declaration annotation_type_declaration")  # fmt: skip
_JAVA = CodeLanguage(
    "tree_sitter_java",
    _names("method_declaration constructor_declaration compact_constructor_declaration"),
    _JAVA_TYPES,
    _names("enum_body_declarations"),
)
_C = CodeLanguage("tree_sitter_c", _C_DEFINITIONS, wrappers=_C_WRAPPERS)
_CPP = CodeLanguage(
    "tree_sitter_cpp",
    _names("function_definition union_specifier enum_specifier type_definition "
           "preproc_function_def concept_definition"),
    _names("class_specifier struct_specifier namespace_definition"),
    _C_WRAPPERS,
)  # fmt: skip
_C_SHARP = CodeLanguage(
    "tree_sitter_c_sharp",
    _names("method_declaration constructor_declaration destructor_declaration "
           "operator_declaration enum_declaration delegate_declaration"),
    _names("class_declaration struct_declaration interface_declaration record_declaration "
           "namespace_declaration"),
    _names("preproc_if preproc_region"),
)  # fmt: skip
_RUBY = CodeLanguage(
    "tree_sitter_ruby", _names("method singleton_method"), _names("class module singleton_class")
)
_PHP = CodeLanguage(
    "tree_sitter_php",
    _names("function_definition method_declaration"),
    _names("class_declaration interface_declaration trait_declaration enum_declaration "
           "namespace_definition"),
    grammar="language_php",
)  # fmt: skip
_BASH = CodeLanguage("tree_sitter_bash", _names("function_definition"))
_KOTLIN = CodeLanguage(
    "tree_sitter_kotlin",
    _names("function_declaration secondary_constructor"),
    _names("class_declaration object_declaration companion_object"),
)
_SCALA = CodeLanguage(
    "tree_sitter_scala",
    _names("function_definition function_declaration type_definition"),
    _names("class_definition object_definition trait_definition enum_definition package_object"),
)
_SWIFT = CodeLanguage(
    "tree_sitter_swift",
    _names("function_declaration init_declaration deinit_declaration subscript_declaration "
           "protocol_function_declaration"),
    _names("class_declaration protocol_declaration"),
)  # fmt: skip
_LUA = CodeLanguage("tree_sitter_lua", _names("function_declaration"))

LANGUAGES: Mapping[str, CodeLanguage] = {
    **dict.fromkeys((".py", ".pyi", ".pyw", ".pyx", ".pxd", ".pxi"), _PYTHON),
    **dict.fromkeys((".js", ".jsx", ".mjs", ".cjs"), _JAVASCRIPT),
    **dict.fromkeys((".ts", ".mts", ".cts"), _TYPESCRIPT),
    ".tsx": _TSX,
    ".go": _GO,
    ".rs": _RUST,
    ".java": _JAVA,
    **dict.fromkeys((".c", ".h"), _C),
    **dict.fromkeys((".cc", ".cpp", ".cxx", ".hpp", ".hh", ".hxx"), _CPP),
    ".cs": _C_SHARP,
    ".rb": _RUBY,
    ".php": _PHP,
    **dict.fromkeys((".sh", ".bash"), _BASH),
    **dict.fromkeys((".kt", ".kts"), _KOTLIN),
    ".scala": _SCALA,
    ".swift": _SWIFT,
    ".lua": _LUA,
}
"""The language of each suffix."""

OTHER_CODE_SUFFIXES = tuple(
    ".sql .r .proto .tf .hcl .css .scss .less .vue .svelte .astro .pl .pm .jl .ex .exs .erl .hs "
    ".ml .mli .clj .cljs .fs .dart .groovy .gradle .ps1 .psm1 .bat .cmd .zsh .fish .m .mm .zig "
    ".nim .vb .asm .s .cmake .mk .graphql .gql .sol .f90 .v .vhd .el .lisp .rkt".split()
)
"""The suffixes of code without a grammar here; it is cut at blank lines."""
