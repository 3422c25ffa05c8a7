"""Which substances a name in a drug table stands for.

A name is cut into words. From left to right the longest run of words that is known as a name is taken; what is left
over (strengths, forms, salts, containers) says nothing of the substance. Known are the hand-written `drug_names.csv`,
the substances' names in the ATC, and `drug_synonyms.csv.gz`; where they differ, the first wins. Words that are part of
many names (potassium, zinc, alcohol) count only where nothing else is named. Where nothing at all is understood, a word
may be cut short (``piperacil``) or misspelt by one letter, if only one substance fits.
"""

import bisect
import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache

from zoo.knowledge import atc
from zoo.knowledge._tables import read_rows

JOINED = " + "
CARRIERS = frozenset(("sodium chloride", "glucose", "water"))
"""What other drugs are dissolved in."""

Substances = tuple[str, ...]

_WORD = re.compile(r"\d+/\d+[a-z]*|\d*\.?\d+[a-z]*|[a-z][a-z0-9]*|[+/&]")
_CONNECTORS = frozenset(("and", "with", "w"))
_NO_NAMES = frozenset(("combinations", "various", "oil", "silver", "carbohydrates", "food", "animals", "textiles"))
_SHORTENED = 6
_MISSPELT = 7


def words(text: str) -> list[str]:
    """Words and numbers of a name in lower-case ASCII, connectors left out.

    >>> words("Amoxicillin-Clavulanate (AUGMENTIN) 875mg/125mg & D5 1/2NS")
    ['amoxicillin', 'clavulanate', 'augmentin', '875mg', '125mg', 'd5', '1/2ns']
    """
    return _cut(text)[0]


def substances_named(text: str) -> Substances:
    """Substances in the order in which a text names them, each once.

    >>> substances_named("HYDROcodone-Acetaminophen (5mg-325mg)"), substances_named("Losartan Potassium 50 mg PO TABS")
    (('hydrocodone', 'paracetamol'), ('losartan',))
    >>> substances_named("potassium 20 mEq"), substances_named("piperacil/tazobact"), substances_named("Soln.")
    (('potassium chloride',), ('piperacillin', 'tazobactam'), ())
    """
    found, rest = _scan(*_cut(text), _lexicon())
    if set(found) - CARRIERS:
        return tuple(found)
    more, rest = _scan(rest, set(), _alone())
    return tuple({**found, **more}) or _repaired(rest)


def exactly(name: str) -> Substances | None:
    """Substances of a text that as a whole is one known name."""
    return _lexicon().get(tuple(words(name)))


def understood(name: str) -> Substances | None:
    """Substances of a text that holds nothing but known names and words that say nothing."""
    found, rest = _scan(*_cut(name), _lexicon())
    return tuple(found) if found and all(map(says_nothing, rest)) else None


def says_nothing(word: str) -> bool:
    """Whether a word is a number, a salt, a form or the like."""
    return not word.isalpha() or word in kind_of_words("salt") or word in kind_of_words("filler")


@cache
def kind_of_words(kind: str) -> frozenset[str]:
    """Words of a kind of `drug_words.csv`."""
    return frozenset(
        word for row in read_rows("drug_words.csv") if row["kind"] == kind for word in row["words"].split()
    )


def forget() -> None:
    """Read the tables anew when they are next needed."""
    for cached in (_lexicon, _alone, _longest, _single_words, combinations):
        cached.cache_clear()


@cache
def combinations() -> dict[frozenset[str], str]:
    """Sets of substances that the ATC names as a combination, to its code."""
    found: dict[frozenset[str], str] = {}
    for code, name in atc.known_codes().items():
        if re.search(r" and |, ", name):
            parts = [exactly(part) for part in re.split(r", | and ", name) if part]
            if len(parts) > 1 and all(part and len(part) == 1 for part in parts):
                found.setdefault(frozenset(part[0] for part in parts), code)
    return found


def _cut(text: str) -> tuple[list[str], set[int]]:
    """Words of a text, and the positions of those before which a connector parts one drug from the next."""
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower().replace("'", "")
    own: list[str] = []
    parted: set[int] = set()
    for match in _WORD.finditer(text):
        if match[0] in _CONNECTORS or not match[0].strip("+/&"):
            parted.add(len(own))
        else:
            own.append(match[0])
    return own, parted


def _scan(
    own: list[str], parted: set[int], lexicon: dict[tuple[str, ...], Substances]
) -> tuple[dict[str, None], list[str]]:
    """Substances of the longest known names from left to right (keys, in order), and the words left over.

    A salt that follows a drug at once is that drug's: ``sodium phosphate`` in ``dexamethasone sodium phosphate``.
    """
    found: dict[str, None] = {}
    rest, start, salted = [], 0, False
    while start < len(own):
        length = _length_known(own, start, lexicon)
        name = tuple(own[start : start + length])
        is_salt = kind_of_words("salt").issuperset(name)
        if not length:
            rest.append(own[start])
        elif not (is_salt and salted and start not in parted):
            found.update(dict.fromkeys(lexicon[name]))
        salted = bool(length) and (salted if is_salt else not CARRIERS.issuperset(lexicon[name]))
        start += length or 1
    return found, rest


def _length_known(own: list[str], start: int, lexicon: dict[tuple[str, ...], Substances]) -> int:
    """Words of the longest known name that begins here, 0 where none does."""
    lengths = range(min(_longest().get(own[start], 1), len(own) - start), 0, -1)
    return next((length for length in lengths if tuple(own[start : start + length]) in lexicon), 0)


@cache
def _lexicon() -> dict[tuple[str, ...], Substances]:
    lexicon: dict[tuple[str, ...], Substances] = {}
    for names, substances in _written("drug_names.csv", "names"):
        _put(lexicon, names, substances)
    for name in _substance_names():
        _put(lexicon, _forms_of(name), (name,))
    for row in [*read_rows("drug_names.csv"), *read_rows("drug_classes.csv")]:
        for substance in row["substances"].split(JOINED):
            _put(lexicon, [substance], (substance,))
    for names, substances in _written("drug_synonyms.csv.gz", "names"):
        _put(lexicon, names, substances)
    return {name: substances for name, substances in lexicon.items() if name not in _alone()}


@cache
def _alone() -> dict[tuple[str, ...], Substances]:
    alone: dict[tuple[str, ...], Substances] = {}
    for names, substances in _written("drug_names.csv", "names_alone"):
        _put(alone, names, substances)
    return alone


def _put(lexicon: dict, names: Iterable[str], substances: Substances) -> None:
    for name in names:
        lexicon.setdefault(tuple(words(name)), substances)


def _written(table: str, column: str) -> Iterator[tuple[list[str], Substances]]:
    for row in read_rows(table):
        substances = tuple(row["substances"].split(JOINED))
        yield [name for name in row[column].split("|") if name.strip()], substances


def _substance_names() -> list[str]:
    """Names that the ATC gives single substances, those of allergens left out."""
    named = {name for code, name in atc.known_codes().items() if name and not code.startswith("V01")}
    return sorted(name for name in named - _NO_NAMES if not re.search(r" and |, |combination", name))


def _forms_of(name: str) -> list[str]:
    """A substance's name as it is, without what is in brackets, and without its salt."""
    forms = [name]
    if "(" in name:
        forms.append(re.sub(r"\s*\(.*?\)", "", name))
    own = words(forms[-1])
    while len(own) > 1 and own[-1] in kind_of_words("salt") and own[0] not in kind_of_words("ion"):
        own = own[:-1]
        forms.append(" ".join(own))
    return forms


@cache
def _longest() -> dict[str, int]:
    """First word of the known names to the number of words of the longest."""
    longest: dict[str, int] = {}
    for name in (*_lexicon(), *_alone()):
        if name:
            longest[name[0]] = max(longest.get(name[0], 1), len(name))
    return longest


def _repaired(left: list[str]) -> Substances:
    """Substances of words that are cut short or misspelt by one letter."""
    found: dict[str, None] = {}
    for word in left:
        if word.isalpha() and len(word) >= _SHORTENED and not says_nothing(word):
            meanings = {_lexicon()[(name,)] for name in _begun(word)}
            if not meanings and len(word) >= _MISSPELT:
                meanings = {_lexicon()[(name,)] for name in _misspelt(word)}
            if len(meanings) == 1:
                found.update(dict.fromkeys(meanings.pop()))
    return tuple(found)


@cache
def _single_words() -> list[str]:
    """Names of one word, those of foreign brands left out."""
    own = {name for names, _ in _written("drug_names.csv", "names") for name in names}
    own.update(form for name in _substance_names() for form in _forms_of(name))
    singles = {tuple(words(name)) for name in own} & _lexicon().keys()
    return sorted(name[0] for name in singles if len(name) == 1 and name[0].isalpha())


def _begun(word: str) -> list[str]:
    known = _single_words()
    start = bisect.bisect_left(known, word)
    stop = bisect.bisect_left(known, word + "{")
    return known[start:stop]


def _misspelt(word: str) -> list[str]:
    known = _single_words()
    start = bisect.bisect_left(known, word[0])
    stop = bisect.bisect_left(known, word[0] + "{")
    near = (name for name in known[start:stop] if len(name) >= _MISSPELT and abs(len(name) - len(word)) <= 1)
    return [name for name in near if _one_letter_apart(name, word)]


def _one_letter_apart(first: str, second: str) -> bool:
    """Whether one letter was added, left out, replaced, or swapped with the next."""
    if len(first) > len(second):
        first, second = second, first
    head = next((n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), len(first))
    if len(first) < len(second):
        return first[head:] == second[head + 1 :]
    swapped = first[head : head + 2] == second[head : head + 2][::-1] and first[head + 2 :] == second[head + 2 :]
    return swapped or first[head + 1 :] == second[head + 1 :]
