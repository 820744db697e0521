//! Signed records: who may do what, and what is the newest state.

use std::sync::{Arc, LazyLock};

use bt_base::{Entropy, HeadHash, JournalId, Revision, Timestamp, ZoneId};
use bt_crypto::{EpochKey, JournalCipher, KeyStore, SoftwareKeyStore};
use bt_tree::{
    AccessLog, Action, BatchFrame, BatchReader, BatchWriter, Birth, CounterRecord, EpochList, EpochRecord, Genesis,
    Head, JournalPosition, Keyring, LastHead, Rights, SessionCertificate, SessionKey, SignedHead,
};

use crate::keys::Counting;
use crate::vector;

const NOW: Timestamp = Timestamp::new(1_790_000_000, 5);
const JOURNAL: JournalPosition =
    JournalPosition { id: JournalId([4; 32]), covered: 0, next_batch: 0, previous_batch_hash: [0; 32], offset: 0 };

/// A tree with one zone, and a session of a node that may write it.
struct World {
    genesis: Genesis,
    birth: Birth,
    log: AccessLog,
    session: Arc<SessionKey>,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let entropy: &mut dyn Entropy = &mut Counting(0);
    let (root, node) = (SoftwareKeyStore::from_seed(&[1; 32]), SoftwareKeyStore::from_seed(&[2; 32]));
    let genesis = Genesis::create(&root, NOW, entropy).expect("the root signs");
    let birth = Birth::create(&root, &genesis, None, entropy).expect("the root signs");
    let mut log = AccessLog::new(&genesis, &birth).expect("both are of one tree");
    let grant = Action::Grant { principal: *node.credential(), rights: Rights::Write, until: None };
    log.decide(&root, NOW, grant).expect("the root grants");
    let session = SessionKey::issue(&node, genesis.tree(), NOW, 3600, entropy).expect("the node signs");
    World { genesis, birth, log, session: Arc::new(session) }
});

/// What the world above has, and what an earlier version wrote.
fn seeds(name: &str, bytes: Vec<u8>) -> Vec<Vec<u8>> {
    vec![bytes, vector(&format!("bt-tree/vectors/{name}.hex"))]
}

fn cipher(key: [u8; 32], journal: &JournalId) -> JournalCipher {
    JournalCipher::new(&EpochKey::from_bytes(key), WORLD.genesis.tree(), WORLD.birth.zone(), journal)
}

pub(crate) fn genesis(data: &[u8]) {
    if let Ok(genesis) = Genesis::decode(data) {
        assert_eq!(genesis.as_bytes(), data, "a record keeps its bytes");
    }
}

pub(crate) fn genesis_seeds() -> Vec<Vec<u8>> {
    seeds("genesis-v1", WORLD.genesis.as_bytes().to_vec())
}

pub(crate) fn successions(data: &[u8]) {
    if let Ok(genesis) = WORLD.genesis.clone().with_successions(data) {
        assert_eq!(genesis.successions_to_bytes(), data, "a list keeps its bytes");
    }
}

pub(crate) fn successions_seeds() -> Vec<Vec<u8>> {
    let (root, second) = (SoftwareKeyStore::from_seed(&[1; 32]), SoftwareKeyStore::from_seed(&[3; 32]));
    let mut genesis = WORLD.genesis.clone();
    genesis.succeed(&root, &second, *WORLD.birth.zone(), NOW).expect("the root signs");
    seeds("succession-v1", genesis.successions_to_bytes())
}

pub(crate) fn counter(data: &[u8]) {
    let node = SoftwareKeyStore::from_seed(&[2; 32]);
    if let Ok(record) = CounterRecord::decode(WORLD.genesis.tree(), node.credential(), &[6; 32], data) {
        let again = record.sign(&node).expect("the node signs");
        let again = CounterRecord::decode(WORLD.genesis.tree(), node.credential(), &[6; 32], &again);
        assert_eq!(again.expect("it was just signed"), record);
    }
}

pub(crate) fn counter_seeds() -> Vec<Vec<u8>> {
    let node = SoftwareKeyStore::from_seed(&[2; 32]);
    let heads = [(*WORLD.birth.zone(), LastHead { revision: Revision(3), hash: HeadHash([3; 32]) })].into();
    let (tree, node_id) = (*WORLD.genesis.tree(), node.credential().id());
    let record = CounterRecord { tree, node: node_id, counter: [6; 32], value: 7, heads, time: NOW };
    seeds("counter-v1", record.sign(&node).expect("the node signs"))
}

pub(crate) fn birth(data: &[u8]) {
    if let Ok(birth) = Birth::decode(WORLD.genesis.tree(), data) {
        assert_eq!(birth.as_bytes(), data, "a record keeps its bytes");
    }
    assert!(Birth::decode_for(WORLD.genesis.tree(), &ZoneId([0; 32]), data).is_err(), "no record has this hash");
}

pub(crate) fn birth_seeds() -> Vec<Vec<u8>> {
    let mut seeds = seeds("birth-v1", WORLD.birth.as_bytes().to_vec());
    seeds.push(vector("bt-tree/vectors/birth-v2.hex"));
    seeds
}

pub(crate) fn access(data: &[u8]) {
    if let Ok(log) = AccessLog::decode(&WORLD.genesis, &WORLD.birth, data) {
        assert_eq!(log.to_bytes(), data, "a log keeps its bytes");
    }
}

pub(crate) fn access_seeds() -> Vec<Vec<u8>> {
    let mut seeds = seeds("access-v1", WORLD.log.to_bytes());
    seeds.extend(["access-v2", "access-succession-v2"].map(|name| vector(&format!("bt-tree/vectors/{name}.hex"))));
    seeds
}

pub(crate) fn epochs(data: &[u8]) {
    if let Ok(list) = EpochList::decode(&WORLD.log, data) {
        assert_eq!(list.to_bytes(), data, "a list keeps its bytes");
    }
    drop(EpochRecord::decode(data));
}

pub(crate) fn epochs_seeds() -> Vec<Vec<u8>> {
    let mut list = EpochList::new(&WORLD.log);
    list.advance(&WORLD.log, &mut Keyring::default(), &WORLD.session, NOW, &mut Counting(3)).expect("it may write");
    seeds("epochs-v1-under-access-v2", list.to_bytes())
}

pub(crate) fn session(data: &[u8]) {
    if let Ok(certificate) = SessionCertificate::decode(data) {
        assert_eq!(certificate.as_bytes(), data, "a certificate keeps its bytes");
        drop(certificate.verify(WORLD.genesis.tree(), certificate.not_after()));
    }
}

pub(crate) fn session_seeds() -> Vec<Vec<u8>> {
    seeds("session-v1", WORLD.session.certificate().as_bytes().to_vec())
}

pub(crate) fn head(data: &[u8]) {
    if let Ok(head) = SignedHead::decode(data) {
        assert_eq!(head.to_bytes(), data, "a head keeps its bytes");
        drop(head.verify(&WORLD.log));
    }
}

pub(crate) fn head_seeds() -> Vec<Vec<u8>> {
    let head = Head {
        tree: *WORLD.genesis.tree(),
        zone: *WORLD.birth.zone(),
        revision: Revision(1),
        previous: HeadHash([0; 32]),
        root: None,
        root_level: 0,
        epoch: 1,
        access: WORLD.log.newest(),
        journal: JOURNAL,
        lease_token: 0,
        added: vec![],
        removed: vec![],
        time: NOW,
    };
    seeds("head-v1-under-access-v2", SignedHead::sign(head, &WORLD.session).expect("it is small").to_bytes())
}

pub(crate) fn batch(data: &[u8]) {
    let Ok(Some(frame)) = BatchFrame::peek(data) else { return };
    let position = JournalPosition {
        id: frame.journal,
        covered: 0,
        next_batch: frame.number,
        previous_batch_hash: [0; 32],
        offset: 0,
    };
    let mut reader = BatchReader::new(cipher([0; 32], &frame.journal), &WORLD.log, WORLD.log.newest(), &position);
    assert!(reader.open(data).is_err(), "nobody seals under a key of zeros");
    reader.is_good_later_batch(data);
}

pub(crate) fn batch_seeds() -> Vec<Vec<u8>> {
    let mut batch = Vec::new();
    BatchWriter::new(cipher([3; 32], &JOURNAL.id), WORLD.session.clone(), *WORLD.birth.zone(), JOURNAL.id, 1)
        .seal(NOW, 1, 1, &[7; 5000], &mut batch)
        .expect("it is small");
    seeds("batch-v1", batch)
}
