"""Compares our number validators with python-stdnum and schwifty, verdict by verdict.

Usage: python tests/oracles/check_numbers.py --program PATH --seed N --count N

PATH is the built example `number_verdicts` of passbook-core. The numbers are generated from the seed: valid ones from
the oracles' own tables, mutations of them, and two sweeps that do not depend on chance: an IBAN and a BIC for each of
the 676 two-letter codes. The program runs once over all of them.

Exit status 1 means a disagreement whose reason is not in EXPLANATIONS. An explanation is a predicate over the number,
so it excuses exactly the case it describes and nothing else.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import random
import re
import string
import subprocess
import sys
from typing import Callable, NamedTuple

import schwifty
from schwifty import registry
from stdnum import bic as stdnum_bic
from stdnum import iban as stdnum_iban
from stdnum import numdb
from stdnum.us import rtn as stdnum_rtn

DIGITS, LETTERS = string.digits, string.ascii_uppercase
CLASSES = {"n": DIGITS, "a": LETTERS, "c": DIGITS + LETTERS}
COUNTRY_CODES = ["".join(pair) for pair in itertools.product(LETTERS, repeat=2)]
ABA_PREFIXES = [*range(0, 13), *range(21, 33), *range(61, 73), 80]
COUNT_MIN = 1_000
"""A run over fewer numbers than this proves nothing and is refused."""


# --- Oracles: what each library says -------------------------------------------------------------------------------


def schwifty_iban(number: str) -> bool:
    try:
        schwifty.IBAN(number)
    except (schwifty.exceptions.SchwiftyException, ValueError):
        return False
    return True


def schwifty_bic(number: str) -> bool:
    try:
        schwifty.BIC(number)
    except (schwifty.exceptions.SchwiftyException, ValueError):
        return False
    return True


ORACLES: dict[str, dict[str, Callable[[str], bool]]] = {
    "aba": {"stdnum": stdnum_rtn.is_valid},
    "iban": {
        "stdnum": lambda number: stdnum_iban.is_valid(number, check_country=False),
        "stdnum with national checks": stdnum_iban.is_valid,
        "schwifty": schwifty_iban,
    },
    "bic": {"stdnum": stdnum_bic.is_valid, "schwifty": schwifty_bic},
}


# --- Disagreements we understand -----------------------------------------------------------------------------------


class Explanation(NamedTuple):
    kind: str
    oracle: str
    ours_valid: bool
    name: str
    applies: Callable[[str, str], bool]
    """Takes the compact number and the code of our reason."""


def bban_of(number: str) -> str:
    return number[4:]


# Countries and territories in schwifty's tables that are not in the SWIFT IBAN registry.
TERRITORIES = frozenset("AX BL GF GG GP IM JE MF MQ NC PF PM RE TF WF YT".split())
UNREGISTERED = frozenset("AO BF BJ CF CG CI CM CV DZ GA GQ GW IR KM MA MG ML MZ NE SN TD TG".split())

EXPLANATIONS = [
    Explanation(
        "aba", "stdnum", False, "stdnum checks the digit but not the assigned prefixes",
        lambda number, reason: reason == "unassigned_prefix" and int(number[:2]) not in ABA_PREFIXES,
    ),
    Explanation(
        "aba", "stdnum", False, "stdnum accepts nine zeros",
        lambda number, reason: reason == "all_zero" and number == "0" * 9,
    ),
    *(
        Explanation(
            "iban", oracle, False, "stdnum accepts check digits 00, 01 and 99, aliases of 97, 98 and 02",
            lambda number, reason: reason == "check_digits_out_of_range" and number[2:4] in ("00", "01", "99"),
        )
        for oracle in ("stdnum", "stdnum with national checks")
    ),
    *(
        Explanation(
            "iban", oracle, False, "stdnum takes letters as check digits when the remainder fits",
            lambda number, reason: reason == "wrong_character" and not number[2:4].isdigit(),
        )
        for oracle in ("stdnum", "stdnum with national checks")
    ),
    *(
        Explanation(
            "iban", oracle, True, "stdnum 2.2 carries registry release 101, where Brazil's bank code was numeric",
            lambda number, _: number[:2] == "BR" and not re.fullmatch(r"\d{23}[A-Z][A-Z0-9]", bban_of(number)),
        )
        for oracle in ("stdnum", "stdnum with national checks")
    ),
    Explanation(
        "iban", "stdnum with national checks", True, "stdnum also checks the national check digits of the BBAN",
        lambda number, _: has_national_module(number[:2]) and stdnum_iban.is_valid(number, check_country=False),
    ),
    Explanation(
        "iban", "schwifty", False, "schwifty also knows countries outside the registry",
        lambda number, reason: reason == "unknown_country" and number[:2] in UNREGISTERED,
    ),
    Explanation(
        "iban", "schwifty", False, "schwifty also takes territories, whose IBANs carry the parent's code",
        lambda number, reason: reason == "unknown_country" and number[:2] in TERRITORIES,
    ),
    Explanation(
        "bic", "stdnum", True, "stdnum takes letters only in the first four characters; ISO 9362 allows digits",
        lambda number, _: not number[:4].isalpha(),
    ),
    Explanation(
        "bic", "schwifty", True, "schwifty looks the country up in ISO 3166, which has not assigned XK (Kosovo)",
        lambda number, _: number[4:6] == "XK",
    ),
]


def has_national_module(country: str) -> bool:
    # Asked of the library itself, so that the excuse ends where its national checks do.
    return stdnum_iban._get_cc_module(country) is not None


# --- Generation ----------------------------------------------------------------------------------------------------


def expanded(structure: str) -> str:
    return "".join(kind * int(length) for length, kind in re.findall(r"(\d+)!([nac])", structure))


def iban_structures() -> dict[str, str]:
    """One class letter per position, for every country either oracle knows."""
    structures = {}
    for country in COUNTRY_CODES:
        properties = numdb.get("iban").info(country)[0][1]
        if properties.get("bban"):
            structures[country] = expanded(properties["bban"])
        try:
            structures[country] = expanded(registry.get_iban_spec(country).bban_spec)
        except schwifty.exceptions.InvalidCountryCode:
            pass
    return structures


class Generator:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.structures = iban_structures()
        self.countries = sorted(self.structures)

    def text(self, classes: str) -> str:
        return "".join(self.random.choice(CLASSES[kind]) for kind in classes)

    def aba(self) -> str:
        # A third with any prefix, so that the prefix rule meets numbers whose check digit is right.
        prefix = self.random.choice(ABA_PREFIXES) if self.random.random() < 0.67 else self.random.randrange(100)
        first_eight = f"{prefix:02}{self.text('n' * 6)}"
        return first_eight + stdnum_rtn.calc_check_digit(first_eight)

    def iban(self, country: str | None = None) -> str:
        country = country or self.random.choice(self.countries)
        bban = self.text(self.structures.get(country, "n" * 20))
        return country + stdnum_iban.calc_check_digits(f"{country}00{bban}") + bban

    def alias_iban(self) -> str:
        """An IBAN with check digits that have the right remainder but are never issued."""
        while True:
            number = self.iban()
            if alias := {"97": "00", "98": "01", "02": "99"}.get(number[2:4]):
                return number[:2] + alias + number[4:]

    def bic(self, country: str | None = None) -> str:
        country = country or self.random.choice(COUNTRY_CODES)
        party = self.text("aaaa") if self.random.random() < 0.8 else self.text("cccc")
        return party + country + self.text("cc") + self.random.choice(["", "XXX", self.text("ccc")])

    def mutated(self, number: str) -> str:
        position = self.random.randrange(len(number))
        alphabet = DIGITS if number.isdigit() and self.random.random() < 0.9 else DIGITS + LETTERS
        kind = self.random.randrange(5)
        if kind == 0:  # another character
            return number[:position] + self.random.choice(alphabet) + number[position + 1 :]
        if kind == 1:  # neighbours swapped
            return number[:position] + number[position : position + 2][::-1] + number[position + 2 :]
        if kind == 2:  # a character lost
            return number[:position] + number[position + 1 :]
        if kind == 3:  # a character too many
            return number[:position] + self.random.choice(alphabet) + number[position:]
        return "".join(  # two other characters
            self.random.choice(alphabet) if index in (position, 0) else character
            for index, character in enumerate(number)
        )

    def written(self, number: str) -> str:
        """The same IBAN as people write it."""
        if self.random.random() < 0.1:
            number = " ".join(number[start : start + 4] for start in range(0, len(number), 4))
        return number.lower() if self.random.random() < 0.05 else number

    def numbers(self, count: int) -> list[tuple[str, str]]:
        generated = [("aba", "0" * 9)]
        generated += [("iban", self.iban(country)) for country in COUNTRY_CODES]
        generated += [("bic", self.bic(country)) for country in COUNTRY_CODES]
        generated += [("iban", self.alias_iban()) for _ in range(50)]
        makers = {"aba": self.aba, "iban": self.iban, "bic": self.bic}
        while len(generated) < count:
            kind = self.random.choice(["aba", "iban", "iban", "bic"])
            number = makers[kind]()
            if self.random.random() < 0.5:
                number = self.mutated(number)
            generated.append((kind, self.written(number) if kind == "iban" else number))
        return generated


# --- Comparison ----------------------------------------------------------------------------------------------------


def our_verdicts(program: str, numbers: list[tuple[str, str]]) -> list[tuple[bool, str]]:
    lines = "".join(f"{kind}\t{number}\n" for kind, number in numbers)
    answer = subprocess.run([program], input=lines, capture_output=True, text=True, check=True, timeout=300)
    verdicts = [line.split("\t") for line in answer.stdout.splitlines()]
    if len(verdicts) != len(numbers):
        sys.exit(f"{len(numbers)} numbers went in, {len(verdicts)} verdicts came out")
    return [(verdict[0] == "valid", verdict[-1]) for verdict in verdicts]


def explanation_for(kind: str, oracle: str, ours_valid: bool, number: str, reason: str) -> str | None:
    compact = number.replace(" ", "").upper()
    for item in EXPLANATIONS:
        if (item.kind, item.oracle, item.ours_valid) == (kind, oracle, ours_valid) and item.applies(compact, reason):
            return item.name
    return None


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--program", required=True)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--count", type=int, default=100_000)
    options = arguments.parse_args()
    if options.count < COUNT_MIN:
        arguments.error(f"--count must be at least {COUNT_MIN}")

    numbers = Generator(options.seed).numbers(options.count)
    verdicts = our_verdicts(options.program, numbers)
    counts: collections.Counter[tuple[str, bool]] = collections.Counter()
    explained: collections.Counter[tuple[str, str, str]] = collections.Counter()
    unexplained = []
    comparisons = 0
    for (kind, number), (ours_valid, reason) in zip(numbers, verdicts):
        counts[kind, ours_valid] += 1
        for oracle, is_valid in ORACLES[kind].items():
            comparisons += 1
            if is_valid(number) == ours_valid:
                continue
            name = explanation_for(kind, oracle, ours_valid, number, reason)
            if name:
                explained[kind, oracle, name] += 1
            else:
                unexplained.append((kind, oracle, number, reason))

    print(f"seed {options.seed}: {len(numbers)} numbers, {comparisons} comparisons")
    for kind in ORACLES:
        print(f"  {kind:5} {counts[kind, True]:7} valid {counts[kind, False]:7} invalid")
    for (kind, oracle, name), number_count in sorted(explained.items()):
        print(f"  explained {number_count:6}  {kind} / {oracle}: {name}")
    for kind, oracle, number, reason in unexplained[:40]:
        print(f"  UNEXPLAINED  {kind} / {oracle}: {number}, ours: {reason}")
    print(f"  unexplained disagreements: {len(unexplained)}")
    one_sided = [kind for kind in ORACLES if not (counts[kind, True] and counts[kind, False])]
    if one_sided:
        print(f"  no valid or no invalid number of kind: {', '.join(one_sided)}")
    return 1 if unexplained or one_sided else 0


if __name__ == "__main__":
    sys.exit(main())
