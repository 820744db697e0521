#!/usr/bin/env python3
"""A second, independent implementation of the formats in doc/format/keys.md.

Prints the vectors that tests/vectors.rs recomputes: `python3 reference.py > v1.json`. Needs the packages
blake3 and cryptography (48 or newer, for Argon2id and HPKE). Vectors of a version are only ever added.
"""

import json
import struct

from blake3 import blake3
from cryptography.hazmat.primitives import hashes, hmac, hpke
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
NO_TREE = bytes(32)
VERSIONS = {"access": 2}  # of the labels of these vectors; all others have version 1


def frame(label, tree):
    name = ("blocktree/" + label).encode()
    return bytes([len(name)]) + name + struct.pack("<H", VERSIONS.get(label, 1)) + tree


def joined(parts):
    return b"".join(struct.pack("<Q", len(part)) + part for part in parts)


def labelled_hash(label, tree, parts):
    return blake3(frame(label, tree) + joined(parts)).digest()


def derive_key(secret, label, tree, parts):
    info = frame(label, tree) + joined(parts)
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(secret)


def number_nonce(number):
    return struct.pack("<Q", number) + bytes(4)


def pattern(length, seed):
    return blake3(b"pattern" + bytes([seed])).digest(length=length)


def block(epoch_key, tree, zone, segment, epoch, index, plaintext):
    key = derive_key(epoch_key, "segment-key", tree, [zone, segment])
    sealed = AESGCM(key).encrypt(number_nonce(index), plaintext, None)
    context = labelled_hash("block-hash", tree, [zone, segment, struct.pack("<I", epoch)])
    digest = blake3(sealed + struct.pack("<Q", index), key=context).digest()
    return sealed, digest


def private_key(seed, purpose):
    for attempt in range(256):
        scalar = int.from_bytes(derive_key(seed, "credential", NO_TREE, [purpose, bytes([attempt])]), "big")
        if 0 < scalar < ORDER:
            return ec.derive_private_key(scalar, ec.SECP256R1())
    raise ValueError("no scalar")


def point(key, form=PublicFormat.CompressedPoint):
    return key.public_key().public_bytes(Encoding.X962, form)


def credential(seed):
    signing, agreement = point(private_key(seed, b"signing")), point(private_key(seed, b"agreement"))
    return struct.pack("<H", 1) + b"\x01" + signing + b"\x01" + agreement


def principal(seed):
    return labelled_hash("credential", NO_TREE, [credential(seed)])


def sign(seed, label, tree, message):
    digest = hashes.Hash(hashes.SHA256())
    digest.update(frame(label, tree) + message)
    algorithm = ec.ECDSA(utils.Prehashed(hashes.SHA256()), deterministic_signing=True)
    r, s = utils.decode_dss_signature(private_key(seed, b"signing").sign(digest.finalize(), algorithm))
    return r.to_bytes(32, "big") + min(s, ORDER - s).to_bytes(32, "big")


def extract(salt, ikm):
    mac = hmac.HMAC(salt or bytes(32), hashes.SHA256())
    mac.update(ikm)
    return mac.finalize()


def expand_once(prk, info, length):
    return extract(prk, info + b"\x01")[:length]


def hpke_seal(recipient_seed, entropy, info, aad, plaintext):
    """RFC 9180, base mode, written out so that the ephemeral key can be given."""
    kem, suite = b"KEM\x00\x10", b"HPKE\x00\x10\x00\x01\x00\x02"
    recipient, ephemeral = private_key(recipient_seed, b"agreement"), private_key(entropy, b"agreement")
    enc = point(ephemeral, PublicFormat.UncompressedPoint)
    agreed = ephemeral.exchange(ec.ECDH(), recipient.public_key())

    def labeled_extract(suite_id, salt, label, ikm):
        return extract(salt, b"HPKE-v1" + suite_id + label + ikm)

    def labeled_expand(suite_id, prk, label, context, length):
        return expand_once(prk, struct.pack(">H", length) + b"HPKE-v1" + suite_id + label + context, length)

    shared = labeled_expand(
        kem,
        labeled_extract(kem, b"", b"eae_prk", agreed),
        b"shared_secret",
        enc + point(recipient, PublicFormat.UncompressedPoint),
        32,
    )
    context = (
        b"\x00"
        + labeled_extract(suite, b"", b"psk_id_hash", b"")
        + labeled_extract(suite, b"", b"info_hash", info)
    )
    secret = labeled_extract(suite, shared, b"secret", b"")
    key = labeled_expand(suite, secret, b"key", context, 32)
    nonce = labeled_expand(suite, secret, b"base_nonce", context, 12)
    # The library's own HPKE, which takes no associated data, must open the same without it.
    library = hpke.Suite(hpke.KEM.P256, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
    without_aad = enc + AESGCM(key).encrypt(nonce, plaintext, None)
    assert library.decrypt(without_aad, recipient, info=info) == plaintext
    return enc, AESGCM(key).encrypt(nonce, plaintext, aad)


def sealed_file(magic, label, public, secret, passphrase, salt, memory_kib, passes, lanes):
    header = magic + struct.pack("<HIII", 1, memory_kib, passes, lanes) + salt + public
    argon2 = Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory_kib)
    key = derive_key(argon2.derive(passphrase), label, NO_TREE, [])
    body = header + AESGCM(key).encrypt(bytes(12), secret, header)
    return body + labelled_hash(label, NO_TREE, [body])


def root_file(seed, *protection):
    return sealed_file(b"BT-ROOT\n", "root-file", b"", seed, *protection)


def principal_file(seed, *protection):
    return sealed_file(b"BT-PRIN\n", "principal-file", credential(seed), seed, *protection)


def principal_text(seed):
    public = credential(seed)
    public += labelled_hash("principal-text", NO_TREE, [public])[:5]
    bits = "".join(f"{byte:08b}" for byte in public)
    characters = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    return "btp1" + "".join(characters[int(bits[at : at + 5], 2)] for at in range(0, len(bits), 5))


def case(**fields):
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in fields.items()}


def hexes(parts):
    return [part.hex() for part in parts]


def vectors():
    tree, zone, segment = pattern(32, 1), pattern(32, 2), pattern(32, 3)
    out = {name: [] for name in (
        "labelled_hash", "derive_key", "block", "journal", "wrapped_key", "principal", "signature", "hpke", "root",
        "person")}
    for label, where, parts in [
        ("genesis", NO_TREE, []), ("head", tree, [b""]), ("birth", tree, [b"one", b"two"]),
        ("access", tree, [pattern(3000, 4)]),
    ]:
        out["labelled_hash"].append(
            case(label=label, tree=where, parts=hexes(parts), hash=labelled_hash(label, where, parts)))
        secret = pattern(32, 5)
        key = derive_key(secret, label, where, parts)
        out["derive_key"].append(case(secret=secret, label=label, tree=where, parts=hexes(parts), key=key))
    for epoch, index, length in [(1, 0, 0), (1, 1, 1), (2, 7, 4096), (0xFFFFFFFF, 4095, 16384)]:
        key, plaintext = pattern(32, 6), pattern(length, 7)
        sealed, digest = block(key, tree, zone, segment, epoch, index, plaintext)
        # Long contents stand as their length and hash: they are BLAKE3's output stream, see `pattern`.
        out["block"].append(case(
            epoch_key=key, tree=tree, zone=zone, segment=segment, epoch=epoch, index=index, length=length,
            pattern=7, sealed_blake3=blake3(sealed).digest(), tag=sealed[-16:], hash=digest))
    for number, associated, plaintext in [
        (0, b"", b""), (1, b"header", b"operation"), (2**40 + 1, pattern(100, 8), pattern(500, 9)),
    ]:
        key, journal = pattern(32, 10), pattern(32, 11)
        derived = derive_key(key, "journal-key", tree, [zone, journal])
        out["journal"].append(case(
            epoch_key=key, tree=tree, zone=zone, journal=journal, number=number, associated=associated,
            plaintext=plaintext, sealed=AESGCM(derived).encrypt(number_nonce(number), plaintext, associated)))
    for label, parts in [("epoch-chain", [zone, struct.pack("<I", 2)]), ("readcap", [zone])]:
        secret, inner = pattern(32, 12), pattern(32, 13)
        derived = derive_key(secret, label, tree, parts)
        out["wrapped_key"].append(case(
            secret=secret, label=label, tree=tree, parts=hexes(parts), inner=inner,
            sealed=AESGCM(derived).encrypt(bytes(12), inner, None)))
    for number in range(4):
        seed = pattern(32, 20 + number)
        out["principal"].append(case(
            seed=seed, credential=credential(seed), id=principal(seed),
            node_key_file=b"BT-NODE\n" + struct.pack("<H", 1) + seed + principal(seed)))
        message = pattern(50 * number, 30 + number)
        out["signature"].append(case(
            seed=seed, label="session", tree=tree, message=message, signature=sign(seed, "session", tree, message)))
        entropy, info, aad = pattern(32, 40 + number), pattern(number, 50), pattern(7 * number, 60)
        enc, ciphertext = hpke_seal(seed, entropy, info, aad, message)
        out["hpke"].append(case(
            recipient_seed=seed, entropy=entropy, info=info, aad=aad, plaintext=message, enc=enc,
            ciphertext=ciphertext))
    for entropy, words, passphrase, cost in [
        ("68a79eaca2324873eacc50cb9c6eca8cc68ea5d936f98787c60c7ebc74e6ce7c",
         "hamster diagram private dutch cause delay private meat slide toddler razor book happy fancy gospel tennis "
         "maple dilemma loan word shrug inflict delay length", "correct horse battery staple".encode(), (8, 1, 1)),
        ("f585c11aec520db57dd353c69554b21a89b20fb0650966fa0a9d6f74fd989d8f",
         "void come effort suffer camp survey warrior heavy shoot primary clutch crush open amazing screen patrol "
         "group space point ten exist slush involve unfold", "pässwörd".encode(), (64, 3, 2)),
    ]:
        seed, salt = bytes.fromhex(entropy), pattern(32, 70)
        out["root"].append(case(
            seed=seed, words=words, principal=principal(derive_key(seed, "root-seed", NO_TREE, [b"key store"])),
            passphrase=passphrase, memory_kib=cost[0], passes=cost[1], lanes=cost[2], salt=salt,
            file=root_file(seed, passphrase, salt, *cost)))
    for number, passphrase, cost in [(0, b"correct horse", (8, 1, 1)), (1, "pässwörd".encode(), (64, 3, 2))]:
        seed, salt = pattern(32, 80 + number), pattern(32, 90 + number)
        out["person"].append(case(
            seed=seed, text=principal_text(seed), passphrase=passphrase, memory_kib=cost[0], passes=cost[1],
            lanes=cost[2], salt=salt, file=principal_file(seed, passphrase, salt, *cost)))
    return out


if __name__ == "__main__":
    print(json.dumps(vectors(), indent=1))
