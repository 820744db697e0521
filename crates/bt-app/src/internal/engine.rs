//! How wasmtime is set up: the same in the process that compiles and in those that run what it compiled.

use std::hash::{Hash, Hasher};
use std::sync::OnceLock;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::limits::{GUEST_STACK, HOST_STACK, MEMORIES, TABLES};
use crate::options::Limits;

/// All that compiled code depends on.
fn config(fuel: bool) -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config.consume_fuel(fuel);
    config.max_wasm_stack(GUEST_STACK);
    config.async_stack_size(HOST_STACK);
    config.memory_init_cow(true);
    config.wasm_memory64(false);
    config
}

/// An engine that compiles.
pub(crate) fn compiling(fuel: bool) -> wasmtime::Result<Engine> {
    Engine::new(&config(fuel))
}

/// An engine that runs what [`compiling`] made: every call has its memories, tables and stack from a pool.
pub(crate) fn running(limits: &Limits) -> wasmtime::Result<Engine> {
    let calls = limits.calls;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(calls);
    pool.total_core_instances(calls.saturating_mul(limits.instances));
    pool.max_core_instances_per_component(limits.instances);
    pool.total_stacks(calls);
    pool.total_memories(calls.saturating_mul(MEMORIES));
    pool.max_memories_per_component(MEMORIES);
    pool.max_memory_size(usize::try_from(limits.memory).unwrap_or(usize::MAX));
    pool.total_tables(calls.saturating_mul(TABLES));
    pool.max_tables_per_component(TABLES);
    pool.table_elements(limits.table_elements as usize);
    pool.max_core_instance_size(1 << 20);
    pool.max_component_instance_size(1 << 20);
    // It would need a file of /proc.
    pool.pagemap_scan(Enabled::No);
    let mut config = config(limits.fuel.is_some());
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config.enable_compiler(false);
    Engine::new(&config)
}

/// Feeds the hasher with wasmtime's version and all of its configuration that compiled code depends on.
pub(crate) fn identity(fuel: bool, hasher: &mut blake3::Hasher) {
    static IDENTITIES: [OnceLock<[u8; 32]>; 2] = [const { OnceLock::new() }; 2];
    let identity = IDENTITIES[usize::from(fuel)].get_or_init(|| {
        let engine =
            compiling(fuel).expect("an engine that compiles can be made on every machine that this program runs on");
        let mut hasher = Blake(blake3::Hasher::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        *hasher.0.finalize().as_bytes()
    });
    hasher.update(identity);
}

/// Feeds what is hashed into BLAKE3.
struct Blake(blake3::Hasher);

impl Hasher for Blake {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        u64::from_le_bytes(self.0.finalize().as_bytes()[..8].try_into().expect("eight bytes"))
    }
}
