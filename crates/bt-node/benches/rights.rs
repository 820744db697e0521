//! Rights of a zone with a thousand grants: listing them, opening the node, revoking one.
//!
//! `cargo bench -p bt-node --bench rights`

use std::hint::black_box;
use std::sync::Arc;

use bt_crypto::KeyStore;
use bt_crypto::{RootSeed, SoftwareKeyStore};
use bt_node::Node;
use bt_node::control::access::{AccessReport, NextRecords, Right};
use bt_node::control::{Request, Response, Service};
use bt_node::options::{InitOptions, NodeKeyOptions, OpenOptions};
use criterion::{Criterion, criterion_group, criterion_main};

const GRANTS: u32 = 1000;

fn ask(node: &Node, request: Request) -> AccessReport {
    match node.handle(request, &mut |_| std::ops::ControlFlow::Continue(())) {
        Ok(Response::Access(report)) => *report,
        other => panic!("the node answered {other:?}"),
    }
}

fn show(node: &Node) -> AccessReport {
    ask(node, Request::AccessShow { path: "/".into() })
}

fn append(node: &Node, root: &SoftwareKeyStore, decide: impl Fn(&mut NextRecords<'_>)) {
    let report = show(node);
    let mut next = NextRecords::new(&report, root);
    decide(&mut next);
    ask(node, Request::AccessAppend { path: "/".into(), zone: report.zone, records: next.finish() });
}

fn guest(number: u32) -> SoftwareKeyStore {
    let mut seed = [7; 32];
    seed[..4].copy_from_slice(&number.to_le_bytes());
    SoftwareKeyStore::from_seed(&seed)
}

fn thousand_grants(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let options =
        InitOptions { passphrase: b"bench".to_vec().into(), compression: None, node_key: NodeKeyOptions::File };
    let made = bt_node::init(dir.path(), &options).expect("an empty directory takes a tree");
    let root = RootSeed::from_words(&made.words).expect("they were just made").key_store();
    let open = || Node::open(dir.path(), &OpenOptions::default()).expect("the node opens");
    let node = open();
    append(&node, &root, |next| {
        for number in 0..GRANTS {
            next.grant(guest(number).credential(), Right::Read, None).expect("the root signs");
        }
    });
    let mut group = criterion.benchmark_group("1,000 grants");
    group.sample_size(20);
    group.bench_function("list", |bencher| bencher.iter(|| black_box(show(&node))));
    group.bench_function("revoke one, grant it again", |bencher| {
        let one = guest(5);
        bencher.iter(|| {
            append(&node, &root, |next| next.revoke(&one.credential().id()).expect("the root signs"));
            append(&node, &root, |next| next.grant(one.credential(), Right::Read, None).expect("the root signs"));
        });
    });
    node.close().expect("the node closes");
    drop::<Arc<Node>>(node);
    group.bench_function("open and close", |bencher| bencher.iter(|| open().close().expect("the node closes")));
    group.finish();
}

criterion_group!(benches, thousand_grants);
criterion_main!(benches);
