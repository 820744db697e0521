//! The TPM key store on a software TPM.

use std::sync::Arc;
use std::time::Duration;

use bt_base::Entropy;
use bt_base::label::SESSION;
use bt_crypto::{KeyError, KeyPlace, KeyStore, NO_TREE, conformance};
use bt_tpm::{Pcrs, TpmError, TpmKeyOptions, TpmKeyStore, Uses};
use harness::{Scratch, SoftwareTpm};

const PASSPHRASE: &[u8] = b"recovery passphrase";

/// Random bytes that need not be random here: the keys are the TPM's.
struct Counting(u8);

impl Entropy for Counting {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
    }
}

struct Machine {
    tpm: SoftwareTpm,
    _scratch: Scratch,
}

impl Machine {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name).unwrap();
        Self { tpm: SoftwareTpm::start(&scratch, "tpm").unwrap(), _scratch: scratch }
    }

    fn create(&self, pcrs: Option<&str>, with_counter: bool) -> TpmKeyStore {
        let binding = pcrs.map(|pcrs| (pcrs.parse().unwrap(), PASSPHRASE));
        let options = TpmKeyOptions { tcti: &self.tpm.tcti(), binding, with_counter };
        TpmKeyStore::create(&options, &mut Counting(0)).unwrap()
    }
}

fn pcrs(text: &str) -> Pcrs {
    text.parse().unwrap()
}

fn signs(store: &TpmKeyStore) -> Result<(), KeyError> {
    let signature = store.sign(SESSION, &NO_TREE, b"message")?;
    store.credential().verifying_key.verify(SESSION, &NO_TREE, b"message", &signature).expect("it is its signature");
    Ok(())
}

/// The text of the error that using the key gives.
fn refusal(store: &TpmKeyStore) -> String {
    signs(store).expect_err("the key must not be used").to_string()
}

#[test]
fn a_tpm_keeps_every_promise_of_a_key_store() {
    let machine = Machine::new("conformance");
    let store: Arc<dyn KeyStore> = Arc::new(machine.create(None, false));
    conformance::all(&store);
}

#[test]
fn keys_bound_to_pcrs_keep_every_promise_of_a_key_store() {
    let machine = Machine::new("bound-conformance");
    let store: Arc<dyn KeyStore> = Arc::new(machine.create(Some("0,2,7,23"), false));
    conformance::all(&store);
}

#[test]
fn keys_are_the_same_after_a_reboot_from_their_file() {
    let mut machine = Machine::new("reboot");
    let store = machine.create(Some("0,7"), true);
    let bytes = store.encode();
    drop(store);
    machine.tpm.reboot().unwrap();
    let again = TpmKeyStore::decode(&bytes).unwrap();
    signs(&again).unwrap();
    assert_eq!(again.encode(), bytes);
    assert!(again.read_counter().unwrap().is_some());
}

#[test]
fn it_is_told_where_the_keys_are() {
    let machine = Machine::new("place");
    let store = machine.create(Some("7,0"), true);
    let KeyPlace::Tpm(place) = store.place() else { panic!("the keys are in a TPM") };
    assert_eq!(place.tcti, machine.tpm.tcti());
    assert_eq!((place.pcrs, place.has_counter), (vec![0, 7], true));
    let maker = place.maker.expect("the TPM was asked");
    assert!(maker.is_software && maker.manufacturer == "IBM", "swtpm says of itself: {maker:?}");
}

#[test]
fn thousands_of_uses_leave_nothing_loaded() {
    let machine = Machine::new("handles");
    let store = machine.create(Some("16"), true);
    let peer = store.credential().agreement_public;
    for _ in 0..250 {
        signs(&store).unwrap();
        store.agree(&peer).unwrap();
        store.read_counter().unwrap();
    }
    // Failures in the middle leave nothing either.
    machine.tpm.extend_pcr(16, &[1; 32]).unwrap();
    for _ in 0..20 {
        refusal(&store);
    }
    let plain = machine.create(None, true);
    for _ in 0..350 {
        signs(&plain).unwrap();
        plain.agree(&peer).unwrap();
    }
    drop((store, plain));
    assert_eq!(machine.tpm.loaded().unwrap(), 0, "keys and sessions are left in the TPM");
}

#[test]
fn a_key_file_is_of_no_use_at_another_tpm() {
    let mut machine = Machine::new("copied");
    let bytes = machine.create(Some("0"), true).encode();
    let plain = machine.create(None, false).encode();
    machine.tpm.exchange("other").unwrap();
    for bytes in [&bytes, &plain] {
        let copied = TpmKeyStore::decode(bytes).unwrap();
        assert!(refusal(&copied).contains("made in another TPM"), "{}", refusal(&copied));
        let peer = copied.credential().agreement_public;
        assert!(matches!(copied.agree(&peer), Err(KeyError::Unavailable { .. })));
    }
    assert_eq!(TpmKeyStore::decode(&bytes).unwrap().read_counter(), Err(TpmError::OtherTpm));
    assert_eq!(TpmKeyStore::decode(&bytes).unwrap().rebind(None, PASSPHRASE).err(), Some(TpmError::OtherTpm));
    machine.tpm.exchange("tpm").unwrap();
    signs(&TpmKeyStore::decode(&bytes).unwrap()).unwrap();
}

#[test]
fn a_changed_pcr_holds_the_keys_back_until_the_passphrase_binds_them_anew() {
    let machine = Machine::new("pcr");
    let store = machine.create(Some("0,10,16"), false);
    machine.tpm.extend_pcr(9, &[1; 32]).unwrap();
    signs(&store).expect("another PCR says nothing");
    machine.tpm.extend_pcr(16, &[1; 32]).unwrap();
    machine.tpm.extend_pcr(10, &[1; 32]).unwrap();
    let refused = refusal(&store);
    for part in ["PCR 10,16 changed", "bound to PCR 0,10,16", "bt node key rebind"] {
        assert!(refused.contains(part), "{refused}");
    }
    assert!(store.agree(&store.credential().agreement_public).is_err());

    assert_eq!(store.rebind(None, b"another").err(), Some(TpmError::WrongPassphrase));
    let rebound = store.rebind(None, PASSPHRASE).unwrap();
    signs(&rebound).unwrap();
    assert_eq!(rebound.credential(), store.credential(), "the node keeps its name");
    signs(&TpmKeyStore::decode(&rebound.encode()).unwrap()).unwrap();
    refusal(&store);

    let fewer = rebound.rebind(Some(pcrs("0")), PASSPHRASE).unwrap();
    machine.tpm.extend_pcr(16, &[2; 32]).unwrap();
    signs(&fewer).unwrap();
    refusal(&rebound);
}

#[test]
fn keys_without_a_binding_are_not_bound_later() {
    let machine = Machine::new("unbound");
    let store = machine.create(None, false);
    assert_eq!(store.rebind(Some(pcrs("0")), PASSPHRASE).err(), Some(TpmError::NotBound));
}

#[test]
fn wrong_passphrases_lock_the_tpm_for_passphrases_and_not_for_mounting() {
    let machine = Machine::new("lockout");
    let store = machine.create(Some("0"), false);
    let mut tries = 0;
    let last = loop {
        match store.rebind(None, b"guess").err() {
            Some(TpmError::WrongPassphrase) => tries += 1,
            other => break other,
        }
        assert!(tries < 100, "the TPM lets everybody guess");
    };
    assert_eq!(last, Some(TpmError::Locked), "after {tries} tries");
    assert_eq!(store.rebind(None, PASSPHRASE).err(), Some(TpmError::Locked), "the right one does not help now");
    signs(&store).expect("using the keys needs no passphrase");
}

#[test]
fn a_tpm_that_is_gone_is_told_at_once() {
    let mut machine = Machine::new("absent");
    let store = machine.create(None, true);
    machine.tpm.switch_off().unwrap();
    let absent = TpmKeyStore::decode(&store.encode()).unwrap();
    for store in [&store, &absent] {
        let refused = refusal(store);
        assert!(refused.contains("no TPM answers at swtpm:"), "{refused}");
        assert!(matches!(store.read_counter(), Err(TpmError::Absent { .. })));
    }
    machine.tpm.switch_on().unwrap();
    signs(&store).expect("the same store works when the TPM is back");
    let options = TpmKeyOptions { tcti: "device:/dev/no-such-tpm", binding: None, with_counter: false };
    let error = TpmKeyStore::create(&options, &mut Counting(0)).err().expect("there is no such device");
    assert!(error.to_string().contains("No such file"), "{error}");
}

#[test]
fn a_tpm_that_another_program_holds_is_busy_and_not_a_hang() {
    let machine = Machine::new("busy");
    let bytes = machine.create(None, false).encode();
    let store = TpmKeyStore::decode_with(&bytes, Duration::from_millis(300)).unwrap();
    let other = machine.tpm.occupy().unwrap();
    for _ in 0..40 {
        let refused = refusal(&store);
        assert!(refused.contains("another program keeps it busy"), "{refused}");
    }
    drop(other);
    let patient = TpmKeyStore::decode(&bytes).unwrap();
    signs(&patient).expect("it is free again");
}

#[test]
fn a_counter_only_rises() {
    let mut machine = Machine::new("counter");
    let store = machine.create(None, true);
    let first = store.read_counter().unwrap().unwrap();
    store.step_counter().unwrap();
    store.step_counter().unwrap();
    assert_eq!(store.read_counter().unwrap(), Some(first + 2));
    machine.tpm.reboot().unwrap();
    assert_eq!(store.read_counter().unwrap(), Some(first + 2));
    assert_eq!(machine.create(None, false).read_counter(), Ok(None));

    store.remove_counter().unwrap();
    assert_eq!(store.read_counter(), Err(TpmError::CounterGone));
    assert_eq!(store.step_counter(), Err(TpmError::CounterGone));
    // Defined anew at the same place: it begins above what was.
    let again = machine.create(None, true);
    assert!(again.read_counter().unwrap().unwrap() > first + 2);
}

#[test]
fn uses_are_counted() {
    let machine = Machine::new("uses");
    let store = TpmKeyStore::decode(&machine.create(None, true).encode()).unwrap();
    assert_eq!(store.uses(), Uses::default());
    signs(&store).unwrap();
    store.agree(&store.credential().agreement_public).unwrap();
    store.read_counter().unwrap();
    store.step_counter().unwrap();
    assert_eq!(store.uses(), Uses { signatures: 1, agreements: 1, counter_reads: 1, counter_steps: 1 });
}
