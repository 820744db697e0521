//! Making a zone of a directory: what a command must know to sign the records that the zone begins with.
//!
//! The command asks for [`ZoneTerms`], verifies what it gets, signs a birth record and an access log with a credential
//! that never leaves it, and sends them with [`crate::control::Request::ZoneMake`].

use std::collections::BTreeMap;

use bt_base::codec::{decode_exact, encode};
use bt_base::{PrincipalId, Timestamp};
use bt_crypto::{Credential, KeyStore};
use bt_tree::{AccessLog, Action, Birth, Genesis, Rights};
use serde::{Deserialize, Serialize};

use super::Failure;
use super::access::Right;
use crate::system::{SystemEntropy, now};

/// The most bytes of an encoded credential.
const CREDENTIAL_BYTES: usize = 256;

/// The zone that a path lies in, and what a zone born in it begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneTerms {
    /// The path is where that zone is entered: there is nothing to make.
    pub is_zone: bool,
    /// The tree's first record.
    genesis: Vec<u8>,
    /// The successions of its roots.
    successions: Vec<u8>,
    /// The zone's birth record.
    birth: Vec<u8>,
    /// Its access log.
    access: Vec<u8>,
    /// Whom the node acts for, and the node itself: they go on holding what they held.
    own: Vec<Vec<u8>>,
}

/// What is granted to whom.
#[derive(Clone, Copy, Debug)]
pub struct NewGrant {
    /// To whom.
    pub principal: Credential,
    /// What.
    pub right: Right,
    /// The last time at which it holds; none for no end.
    pub until: Option<Timestamp>,
}

impl ZoneTerms {
    pub(crate) fn new(is_zone: bool, genesis: &Genesis, birth: &Birth, access: &AccessLog, own: &[Credential]) -> Self {
        Self {
            is_zone,
            genesis: genesis.as_bytes().to_vec(),
            successions: genesis.successions_to_bytes(),
            birth: birth.as_bytes().to_vec(),
            access: access.to_bytes(),
            own: own.iter().map(encode).collect(),
        }
    }

    /// Signs the records of a new zone: a birth record, and an access log with the grants of the zone around it
    /// (`closed` leaves them out, but for the node's own) and one more. Returns their bytes.
    pub fn sign(&self, signer: &dyn KeyStore, with: &NewGrant, closed: bool) -> Result<(Vec<u8>, Vec<u8>), Failure> {
        let genesis = Genesis::decode(&self.genesis).and_then(|genesis| genesis.with_successions(&self.successions));
        let genesis = genesis.map_err(unusable)?;
        let parent = Birth::decode(genesis.tree(), &self.birth).map_err(unusable)?;
        let around = AccessLog::decode(&genesis, &parent, &self.access).map_err(unusable)?;
        around.may(&signer.credential().id(), Rights::Admin, &around.newest(), now()).map_err(|error| {
            Failure::refused(error.to_string(), "sign as the root, or as an admin of the zone that the directory is in")
        })?;
        let birth = Birth::create(signer, &genesis, Some(*parent.zone()), &mut SystemEntropy).map_err(unusable)?;
        let mut log = AccessLog::new(&genesis, &birth).map_err(unusable)?;
        let mut grants = self.grants(&around, closed)?;
        let wanted = (Rights::from(with.right), End(with.until), with.principal);
        let entry = grants.entry(with.principal.id()).or_insert(wanted);
        if (entry.0, entry.1.key()) < (wanted.0, wanted.1.key()) {
            *entry = wanted;
        }
        for (id, (rights, until, principal)) in grants {
            // The root and the zone's creator may do everything as it is.
            if id != log.root().id() && id != signer.credential().id() {
                log.decide(signer, now(), Action::Grant { principal, rights, until: until.0 }).map_err(unusable)?;
            }
        }
        Ok((birth.as_bytes().to_vec(), log.to_bytes()))
    }

    /// What is granted in the zone around the new one.
    fn grants(&self, around: &AccessLog, closed: bool) -> Result<Grants, Failure> {
        let mut own = Vec::new();
        for bytes in &self.own {
            own.push(decode_exact::<Credential>("credential", bytes, CREDENTIAL_BYTES).map_err(unusable)?);
        }
        let credentials = around.readers(now());
        let mut grants = Grants::new();
        for grant in around.grants(now()) {
            let is_own = own.iter().any(|credential| credential.id() == grant.principal);
            let credential = credentials.iter().find(|credential| credential.id() == grant.principal);
            if let Some(credential) = credential
                && (is_own || !closed)
            {
                grants.insert(grant.principal, (grant.rights, End(grant.until), *credential));
            }
        }
        Ok(grants)
    }
}

type Grants = BTreeMap<PrincipalId, (Rights, End, Credential)>;

/// An end that is later than every other where there is none.
#[derive(Clone, Copy)]
struct End(Option<Timestamp>);

impl End {
    fn key(self) -> Timestamp {
        self.0.unwrap_or(Timestamp::new(i64::MAX, 0))
    }
}

fn unusable(error: impl std::fmt::Display) -> Failure {
    Failure::problem(format!("the records of the zone around cannot be used: {error}"), "run `bt check`")
}
