//! What a call may allocate.

use wasmtime::ResourceLimiter;

use crate::limits::{MEMORIES, TABLES};
use crate::options::Limits;

/// Counts the memory of all linear memories of a call together.
pub(crate) struct Limiter {
    memory: u64,
    used: u64,
    refused: bool,
    table_elements: usize,
    instances: usize,
    fuel: u64,
}

impl Limiter {
    pub fn new(limits: &Limits) -> Self {
        Self {
            memory: limits.memory,
            used: 0,
            refused: false,
            table_elements: limits.table_elements as usize,
            instances: limits.instances as usize,
            fuel: limits.fuel.unwrap_or(0),
        }
    }

    pub fn memory(&self) -> u64 {
        self.memory
    }

    pub fn fuel(&self) -> u64 {
        self.fuel
    }

    /// Whether the guest was refused memory.
    pub fn refused_memory(&self) -> bool {
        self.refused
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let used = self.used + (desired - current) as u64;
        if used > self.memory {
            self.refused = true;
            return Ok(false);
        }
        self.used = used;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= self.table_elements)
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn tables(&self) -> usize {
        TABLES as usize
    }

    fn memories(&self) -> usize {
        MEMORIES as usize
    }
}
