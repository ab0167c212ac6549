"""Texts in several scripts, and small tokenizers of the kinds that rerankers have.

Built on the spot; each has BERT's or RoBERTa's frame of special tokens.
"""

from functools import cache

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram, WordPiece
from tokenizers.trainers import BpeTrainer, UnigramTrainer, WordPieceTrainer

SCRIPTS = {
    "english": "The café opens at nine o'clock. Naïve people wait outside! ",
    "thai": "ร้านกาแฟเปิดเวลาเก้าโมงเช้า คนที่รออยู่ข้างนอกดื่มน้ำ ",
    "arabic": "يَفْتَحُ المقهى في الساعة التاسعة. ينتظر الناس في الخارج؟ ",
    "chinese": "咖啡馆九点开门。人们在外面等候！",
    "hindi": "कैफ़े नौ बजे खुलता है। लोग बाहर प्रतीक्षा कर रहे हैं। ",
    "japanese": "喫茶店は九時に開きます。ガラスの外で人々が待っています。",
    "korean": "카페는 아홉 시에 문을 엽니다. 사람들이 밖에서 기다립니다. ",
    "korean letters": "\u1112\u1161\u11ab\u1100\u1173\u11af \u1100\u1161 ",
    "emoji": "👩‍👩‍👧‍👦 👍🏽 🇩🇪🇫🇷 1️⃣ 🏳️‍🌈 ok 🙂🙂 ",
    "combining": "e\u0301a\u0300\u0302o\u0308 n\u0303 x\u0336y\u0336 ",
}
"""A sentence or two of each script, to be repeated."""

KINDS = ("wordpiece uncased", "wordpiece cased", "unigram", "byte-level bpe")


@cache
def tokenizer_of(kind: str) -> Tokenizer:
    """A tokenizer trained on `SCRIPTS`; special tokens in a text are text."""
    makers = {
        "wordpiece uncased": lambda: _wordpiece(lowercase=True),
        "wordpiece cased": lambda: _wordpiece(lowercase=False),
        "unigram": _unigram,
        "byte-level bpe": _byte_level,
    }
    tokenizer = makers[kind]()
    tokenizer.encode_special_tokens = True
    return tokenizer


def _wordpiece(lowercase: bool) -> Tokenizer:
    """As BERT's; the uncased one strips accents. Some characters are unknown."""
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = WordPieceTrainer(vocab_size=600, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([*SCRIPTS.values()] * 5, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    return tokenizer


def _unigram() -> Tokenizer:
    """As XLM-RoBERTa's: a mark stands for a space, also before the text."""
    tokenizer = Tokenizer(Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace("\n", " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = UnigramTrainer(
        vocab_size=260,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator([*SCRIPTS.values()] * 5, trainer)
    return _roberta(tokenizer)


def _byte_level() -> Tokenizer:
    """As RoBERTa's: some characters are several tokens, and nothing is unknown."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<s>", "<pad>", "</s>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator([SCRIPTS["english"], SCRIPTS["korean"]] * 5, trainer)
    return _roberta(tokenizer)


def _roberta(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("<s>", "</s>")],
    )
    return tokenizer
