"""Builds statement files with an independent OFX implementation.

    python build_ofx.py OUTDIR            writes ofxtools_102.ofx, ofxtools_203.ofx and expected.json
    python build_ofx.py --check FILE...   parses files with ofxtools and prints what it sees

The same three accounts (checking with a valid routing number, savings, credit card) are written once as OFX 1.0.3 with
SGML leaves and once as OFX 2.0.3. Content is fixed, so the output is the same on every run; the copies under
`crates/passbook-connectors/tests/fixtures/ofx` were made by this script (expected.json as ofxtools_expected.json). It holds what a reader must find:
amounts as strings, balances as the account holder is shown them (owed is positive on the card).

Needs ofxtools 1.1.1.
"""

import argparse
import datetime
import json
import pathlib
import sys
import xml.etree.ElementTree as ElementTree
from decimal import Decimal

from ofxtools import models
from ofxtools.Parser import OFXTree
from ofxtools.header import make_header
from ofxtools.utils import UTC, tostring_unclosed_elements

ORG, FID = "Cinder Creek Bank", "4321"
ROUTING_NUMBER = "121000358"
CHECKING, SAVINGS, CARD = "0009988776", "5544332211", "4012888888881881"


def instant(month, day, hour=0, minute=0):
    return datetime.datetime(2024, month, day, hour, minute, tzinfo=UTC)


def transaction(kind, posted, amount, identifier, name, memo=None, **more):
    return models.STMTTRN(
        trntype=kind, dtposted=posted, trnamt=Decimal(amount), fitid=identifier, name=name, memo=memo, **more
    )


def transaction_list(*transactions):
    return models.BANKTRANLIST(*transactions, dtstart=instant(5, 1), dtend=instant(5, 31))


def balance(kind, amount):
    return kind(balamt=Decimal(amount), dtasof=instant(5, 31, 21, 30))


def status():
    return models.STATUS(code=0, severity="INFO")


def bank_statement(number, kind, transactions, ledger, available, unique_id):
    account = models.BANKACCTFROM(bankid=ROUTING_NUMBER, acctid=number, accttype=kind)
    statement = models.STMTRS(
        curdef="USD",
        bankacctfrom=account,
        banktranlist=transactions,
        ledgerbal=balance(models.LEDGERBAL, ledger),
        availbal=balance(models.AVAILBAL, available),
    )
    return models.STMTTRNRS(trnuid=unique_id, status=status(), stmtrs=statement)


def card_statement(transactions, ledger, unique_id):
    statement = models.CCSTMTRS(
        curdef="USD",
        ccacctfrom=models.CCACCTFROM(acctid=CARD),
        banktranlist=transactions,
        ledgerbal=balance(models.LEDGERBAL, ledger),
    )
    return models.CCSTMTTRNRS(trnuid=unique_id, status=status(), ccstmtrs=statement)


def document():
    checking = transaction_list(
        transaction("POS", instant(5, 2, 17, 45), "-54.20", "CK-1", "OAK & IRON HARDWARE", "CARD PURCHASE 2201"),
        transaction("DIRECTDEP", instant(5, 15), "3012.55", "CK-2", "PAYROLL NORTHWIND"),
        transaction("CHECK", instant(5, 21), "-800.00", "CK-3", "RENT", checknum="0312"),
    )
    savings = transaction_list(
        transaction("INT", instant(5, 31), "12.07", "SV-1", "INTEREST & BONUS"),
    )
    card = transaction_list(
        transaction("DEBIT", instant(5, 9), "-19.99", "CC-1", "CAFE ZOË"),
        transaction("CREDIT", instant(5, 20), "250.00", "CC-2", "PAYMENT THANK YOU"),
    )
    signon = models.SONRS(
        status=status(), dtserver=instant(6, 1, 8), language="ENG", fi=models.FI(org=ORG, fid=FID)
    )
    return models.OFX(
        signonmsgsrsv1=models.SIGNONMSGSRSV1(sonrs=signon),
        bankmsgsrsv1=models.BANKMSGSRSV1(
            bank_statement(CHECKING, "CHECKING", checking, "4310.87", "4210.87", "1"),
            bank_statement(SAVINGS, "SAVINGS", savings, "10220.41", "10220.41", "2"),
        ),
        creditcardmsgsrsv1=models.CREDITCARDMSGSRSV1(card_statement(card, "-602.13", "3")),
    )


EXPECTED = {
    "institution": {"org": ORG, "fid": FID},
    "accounts": [
        {
            "account_type": "depository.checking",
            "mask": "8776",
            "current": "4310.87",
            "available": "4210.87",
            "ach": {"routing_number": ROUTING_NUMBER, "account_number": CHECKING},
            "transactions": 3,
            "sum": "2158.35",
        },
        {
            "account_type": "depository.savings",
            "mask": "2211",
            "current": "10220.41",
            "available": "10220.41",
            "ach": {"routing_number": ROUTING_NUMBER, "account_number": SAVINGS},
            "transactions": 1,
            "sum": "12.07",
        },
        {
            "account_type": "liability.credit_card",
            "mask": "1881",
            "current": "602.13",
            "available": None,
            "ach": None,
            "transactions": 2,
            "sum": "230.01",
        },
    ],
    "balance_date": "2024-05-31T21:30:00Z",
}


def build(folder):
    folder.mkdir(parents=True, exist_ok=True)
    elements = document().to_etree()
    for version, name in ((103, "ofxtools_102.ofx"), (203, "ofxtools_203.ofx")):
        if version < 200:
            body = tostring_unclosed_elements(elements)
        else:
            body = ElementTree.tostring(elements)
        header = str(make_header(version=version, newfileuid="NONE"))
        (folder / name).write_bytes(header.encode("ascii") + body)
    (folder / "expected.json").write_text(json.dumps(EXPECTED, indent=2) + "\n")
    for name in ("ofxtools_102.ofx", "ofxtools_203.ofx"):
        seen = parse(folder / name)
        wanted = [account["transactions"] for account in EXPECTED["accounts"]]
        assert [len(rows) for rows in seen] == wanted, f"{name}: ofxtools does not read back what it wrote"


def parse(path):
    """The amounts of every statement, by ofxtools."""
    tree = OFXTree()
    with open(path, "rb") as file:
        tree.parse(file)
    return [[row.trnamt for row in statement.transactions or []] for statement in tree.convert().statements]


def check(paths):
    """Says what ofxtools makes of hand-written files; it is stricter than files in the field."""
    for path in paths:
        try:
            statements = parse(path)
        except Exception as problem:  # ofxtools raises many kinds for files that it does not take
            print(f"{path.name}: not taken ({type(problem).__name__})")
            continue
        amounts = "; ".join(" ".join(str(amount) for amount in rows) for rows in statements)
        print(f"{path.name}: {len(statements)} statements: {amounts}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="parse files instead of building them")
    parser.add_argument("paths", nargs="+", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.check:
        check(arguments.paths)
    elif len(arguments.paths) == 1:
        build(arguments.paths[0])
    else:
        parser.error("one output folder expected")
    return 0


if __name__ == "__main__":
    sys.exit(main())
