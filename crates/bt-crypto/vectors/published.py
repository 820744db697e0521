#!/usr/bin/env python3
"""Picks what others published from the Python package cryptography_vectors: `python3 published.py > published.json`.

NIST CAVP: AES-256-GCM with nonces of 96 and tags of 128 bits (gcmEncryptExtIV256.rsp, gcmDecrypt256.rsp), two cases of
each length; ECDSA on P-256 with SHA-256 (FIPS 186-3, SigVer.rsp), all cases. CFRG: HPKE in base mode with DHKEM(P-256,
HKDF-SHA256), HKDF-SHA256 and AES-256-GCM (test-vectors.json of RFC 9180's draft, which has more suites than the RFC).
"""

import json
import os

import cryptography_vectors

ROOT = os.path.dirname(cryptography_vectors.__file__)


def cavp(*path):
    """Sections of a .rsp file: their headers, and their cases as dictionaries; FAIL is a field without a value."""
    header, sections = {}, []
    with open(os.path.join(ROOT, *path), encoding="ascii") as file:
        for line in (line.strip() for line in file):
            if not line or line.startswith("#"):
                continue
            if line.startswith("["):
                if not sections or sections[-1][1]:
                    header = {}
                    sections.append((header, []))
                name, _, value = line.strip("[]").partition("=")
                header[name.strip()] = value.strip()
                continue
            name, _, value = line.partition("=")
            name, value = name.strip(), value.strip()
            cases = sections[-1][1]
            if name in ("Count", "Msg"):
                cases.append({})
            cases[-1][name] = value
    return sections


def gcm(file):
    for header, cases in cavp("ciphers", "AES", "GCM", file):
        if header["IVlen"] != "96" or header["Taglen"] != "128":
            continue
        fails = [case for case in cases if "FAIL" in case][:1]
        holds = [case for case in cases if "FAIL" not in case][: 2 - len(fails)]
        for case in holds + fails:
            yield {
                "key": case["Key"], "nonce": case["IV"], "aad": case["AAD"], "plaintext": case.get("PT", ""),
                "sealed": case["CT"] + case["Tag"], "holds": "FAIL" not in case,
            }


def ecdsa():
    for header, cases in cavp("asymmetric", "ECDSA", "FIPS_186-3", "SigVer.rsp"):
        if "P-256,SHA-256" not in header:
            continue
        for case in cases:
            field = {name: case[name].zfill(64) for name in ("Qx", "Qy", "R", "S")}
            yield {
                "message": case["Msg"], "public": "04" + field["Qx"] + field["Qy"],
                "signature": field["R"] + field["S"], "holds": case["Result"].startswith("P"),
            }


def hpke():
    with open(os.path.join(ROOT, "HPKE", "test-vectors.json"), encoding="ascii") as file:
        for suite in json.load(file):
            if [suite[name] for name in ("mode", "kem_id", "kdf_id", "aead_id")] == [0, 16, 1, 2]:
                first = suite["encryptions"][0]
                names = ("skEm", "skRm", "enc", "shared_secret", "info", "key", "base_nonce")
                yield {name: suite[name] for name in names} | {name: first[name] for name in ("aad", "pt", "ct")}


if __name__ == "__main__":
    found = {"gcm": [*gcm("gcmEncryptExtIV256.rsp"), *gcm("gcmDecrypt256.rsp")], "ecdsa": [*ecdsa()], "hpke": [*hpke()]}
    print(json.dumps(found, indent=1))
