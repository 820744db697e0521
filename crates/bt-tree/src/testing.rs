//! What the tests of the record formats share: principals from seeds, a small tree, damage, golden vectors.

use std::fmt::Debug;
use std::path::Path;

use bt_base::{Entropy, Timestamp};
use bt_crypto::{KeyStore, SoftwareKeyStore};

use crate::access::{AccessLog, Action, Rights};
use crate::birth::Birth;
use crate::genesis::Genesis;
use crate::session::SessionKey;

/// When the tests' records are made.
pub(crate) const NOW: Timestamp = Timestamp::new(1_790_000_000, 5);

/// `NOW` and so many seconds.
pub(crate) fn later(seconds: i64) -> Timestamp {
    Timestamp::new(NOW.seconds + seconds, NOW.nanos)
}

/// The same bytes in each run, from a seed.
pub(crate) struct SeededEntropy(blake3::OutputReader);

impl SeededEntropy {
    pub(crate) fn new(seed: u64) -> Self {
        Self(blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof())
    }
}

impl Entropy for SeededEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        self.0.fill(out);
    }
}

/// A tree with one zone, its root, and one node that may write.
pub(crate) struct World {
    pub root: SoftwareKeyStore,
    pub node: SoftwareKeyStore,
    pub genesis: Genesis,
    pub birth: Birth,
    pub log: AccessLog,
    pub session: SessionKey,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut entropy = SeededEntropy::new(1);
        let (root, node) = (store(1), store(2));
        let genesis = Genesis::create(&root, NOW, &mut entropy).expect("the root signs");
        let birth = Birth::create(&root, &genesis, None, &mut entropy).expect("the root signs");
        let mut log = AccessLog::new(&genesis, &birth).expect("both are of one tree");
        log.decide(&root, NOW, grant(&node, Rights::Write)).expect("the root grants");
        let session = session(&node, &genesis, NOW);
        Self { root, node, genesis, birth, log, session }
    }
}

/// The principal of a seed.
pub(crate) fn store(seed: u8) -> SoftwareKeyStore {
    SoftwareKeyStore::from_seed(&[seed; 32])
}

/// A session of an hour from `now` on.
pub(crate) fn session(store: &SoftwareKeyStore, genesis: &Genesis, now: Timestamp) -> SessionKey {
    SessionKey::issue(store, genesis.tree(), now, 3600, &mut SeededEntropy::new(9)).expect("the store signs")
}

/// A grant without an end.
pub(crate) fn grant(store: &SoftwareKeyStore, rights: Rights) -> Action {
    Action::Grant { principal: *store.credential(), rights, until: None }
}

/// Checks that `accept` takes `bytes`, and neither any shorter, any longer, nor any with one bit flipped.
pub(crate) fn assert_only_exact<T, E: Debug>(bytes: &[u8], accept: impl Fn(&[u8]) -> Result<T, E>) {
    accept(bytes).map(drop).expect("the bytes as they were made are accepted");
    for len in 0..bytes.len() {
        assert!(accept(&bytes[..len]).is_err(), "{len} of {} bytes were accepted", bytes.len());
    }
    let mut changed = [bytes, &[0]].concat();
    assert!(accept(&changed).is_err(), "one byte too many was accepted");
    changed.pop();
    for bit in 0..bytes.len() * 8 {
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(accept(&changed).is_err(), "bit {} of byte {} flipped was accepted", bit % 8, bit / 8);
        changed[bit / 8] ^= 1 << (bit % 8);
    }
}

/// The golden vector `name` in `vectors/`: bytes that an earlier version wrote, to be understood for ever.
///
/// Vectors are only ever added: with `BT_ADD_VECTORS=1` a missing one is written from `make`, none is replaced.
pub(crate) fn golden(name: &str, make: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(format!("{name}.hex"));
    if !path.exists() && std::env::var_os("BT_ADD_VECTORS").is_some() {
        let lines: Vec<String> = make().chunks(32).map(to_hex).collect();
        std::fs::write(&path, lines.join("\n") + "\n").expect("the vector can be written");
    }
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; add it with BT_ADD_VECTORS=1 cargo test", path.display()));
    from_hex(&text)
}

/// Bytes as hexadecimal digits.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}
