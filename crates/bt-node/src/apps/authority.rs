//! What one call may do with the files of a grant, zone by zone.

use bt_base::{PrincipalId, Timestamp};
use bt_tree::{AccessLog, Rights};

/// Whose rights a call works with.
///
/// A grant never gives more than its owner has: whoever signed the installation must have the right in the zone at hand,
/// now. *As caller*, the default, the caller must have it too; one that nobody knows has none. *As app*, the owner's
/// explicit choice, it does not matter who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Authority {
    /// Who signed the installation.
    pub(crate) owner: PrincipalId,
    /// Who calls; none for an anonymous caller.
    pub(crate) caller: Option<PrincipalId>,
    /// The grant holds whoever calls.
    pub(crate) as_app: bool,
    /// The grant is for changing, too.
    pub(crate) write: bool,
}

impl Authority {
    /// Whether the call may read in the zone whose access log this is.
    pub(crate) fn may_read(&self, log: &AccessLog, now: Timestamp) -> bool {
        self.may(log, Rights::Read, now)
    }

    /// Whether the call may change something in the zone.
    pub(crate) fn may_write(&self, log: &AccessLog, now: Timestamp) -> bool {
        self.write && self.may(log, Rights::Write, now)
    }

    fn may(&self, log: &AccessLog, needed: Rights, now: Timestamp) -> bool {
        let has = |who: &PrincipalId| log.standing(who, now).is_some_and(|(rights, _)| rights >= needed);
        has(&self.owner) && (self.as_app || self.caller.as_ref().is_some_and(has))
    }
}

#[cfg(test)]
mod tests {
    use bt_crypto::{KeyStore, SoftwareKeyStore};
    use bt_tree::{Action, Birth, Genesis};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::system::SystemEntropy;

    const PEOPLE: usize = 4;

    /// What is decided about the people of a zone; person 0 is its root.
    #[derive(Clone, Copy, Debug)]
    enum Decision {
        Grant { to: usize, rights: u8, until: Option<i64> },
        Revoke { from: usize },
    }

    fn decision() -> impl Strategy<Value = Decision> {
        prop_oneof![
            3 => (1..PEOPLE, 0..3_u8, prop::option::of(0..10_i64))
                .prop_map(|(to, rights, until)| Decision::Grant { to, rights, until }),
            1 => (1..PEOPLE).prop_map(|from| Decision::Revoke { from }),
        ]
    }

    /// The rules in their own words: the last accepted decision about a person counts; rights are 0 read, 1 write, 2 admin.
    #[derive(Default)]
    struct Model {
        rights: [Option<(u8, Option<i64>)>; PEOPLE],
    }

    impl Model {
        fn accept(&mut self, decision: Decision) {
            match decision {
                Decision::Grant { to, rights, until } => self.rights[to] = Some((rights, until)),
                Decision::Revoke { from } => self.rights[from] = None,
            }
        }

        fn has(&self, who: usize, needed: u8, at: i64) -> bool {
            who == 0
                || self.rights[who].is_some_and(|(rights, until)| rights >= needed && until.is_none_or(|end| at <= end))
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::new(1_790_000_000 + seconds, 0)
    }

    fn action(people: &[SoftwareKeyStore], decision: Decision) -> Action {
        match decision {
            Decision::Grant { to, rights, until } => Action::Grant {
                principal: *people[to].credential(),
                rights: [Rights::Read, Rights::Write, Rights::Admin][usize::from(rights)],
                until: until.map(at),
            },
            Decision::Revoke { from } => Action::Revoke { principal: people[from].credential().id(), last: None },
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn a_call_may_what_owner_and_caller_may(decisions in vec(decision(), 0..8), now in 0..10_i64) {
            let people: Vec<_> = (1..=PEOPLE as u8).map(|seed| SoftwareKeyStore::from_seed(&[seed; 32])).collect();
            let genesis = Genesis::create(&people[0], at(-1), &mut SystemEntropy).unwrap();
            let birth = Birth::create(&people[0], &genesis, None, &mut SystemEntropy).unwrap();
            let mut log = AccessLog::new(&genesis, &birth).unwrap();
            let mut model = Model::default();
            for decision in decisions {
                if log.decide(&people[0], at(-1), action(&people, decision)).is_ok() {
                    model.accept(decision);
                }
            }
            let callers: Vec<Option<usize>> = std::iter::once(None).chain((0..PEOPLE).map(Some)).collect();
            for (owner, caller) in (0..PEOPLE).flat_map(|owner| callers.iter().map(move |caller| (owner, *caller))) {
                for (as_app, write) in [(false, false), (false, true), (true, false), (true, true)] {
                    let id = |who: usize| people[who].credential().id();
                    let authority = Authority { owner: id(owner), caller: caller.map(id), as_app, write };
                    let all_may = |needed| {
                        let caller_may = || caller.is_some_and(|caller| model.has(caller, needed, now));
                        model.has(owner, needed, now) && (as_app || caller_may())
                    };
                    prop_assert_eq!(authority.may_read(&log, at(now)), all_may(0), "{:?}", (owner, caller, as_app));
                    let expected = write && all_may(1);
                    prop_assert_eq!(authority.may_write(&log, at(now)), expected, "{:?}", (owner, caller, as_app));
                }
            }
        }
    }
}
