//! The filter of system calls.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter_all_threads,
};

use super::Role;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Calls that are allowed whatever their arguments: memory, threads, time, and what is open already.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_pread64,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_ftruncate,
    libc::SYS_memfd_create,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_eventfd2,
    libc::SYS_futex,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_membarrier,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Another filter can only take more away.
    libc::SYS_seccomp,
];

/// Lets only that pass which a process of this crate needs.
pub(super) fn apply(role: Role) -> io::Result<()> {
    let mut rules: Rules = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    // Threads, but no processes. What clone3 does cannot be seen; told that there is none, programs use clone.
    rules.insert(libc::SYS_clone, vec![having(0, libc::CLONE_THREAD as u64)?]);
    rules.insert(libc::SYS_clone3, Vec::new());
    rules.insert(libc::SYS_ioctl, vec![being(1, libc::FIONBIO)?]);
    rules.insert(libc::SYS_socketpair, vec![being(0, libc::AF_UNIX as u64)?]);
    if role == Role::Outgoing {
        add_network(&mut rules)?;
    }
    // Signals to itself, as abort sends them.
    rules.insert(libc::SYS_tgkill, vec![being(0, u64::from(std::process::id()))?]);
    // Names for threads and memory; what applying another filter asks for.
    let options = [libc::PR_SET_NAME, libc::PR_SET_VMA, libc::PR_SET_NO_NEW_PRIVS];
    rules.insert(libc::SYS_prctl, options.iter().map(|option| being(0, *option as u64)).collect::<io::Result<_>>()?);
    install(rules, SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow)?;
    install(
        Rules::from([(libc::SYS_clone3, Vec::new())]),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS as u32),
    )
}

/// What connecting to other hosts takes, and turning names into addresses: sockets of the internet, and to the kernel's
/// list of this machine's addresses; files, as far as landlock lets.
fn add_network(rules: &mut Rules) -> io::Result<()> {
    rules.extend(NETWORK.iter().map(|call| (*call, Vec::new())));
    rules.insert(libc::SYS_ioctl, vec![being(1, libc::FIONBIO)?, being(1, libc::FIONREAD)?]);
    let mut sockets = vec![both((0, !0, libc::AF_NETLINK as u64), (2, !0, libc::NETLINK_ROUTE as u64))?];
    for family in [libc::AF_INET, libc::AF_INET6] {
        for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
            sockets.push(both((0, !0, family as u64), (1, 0xf, kind as u64))?);
        }
    }
    rules.insert(libc::SYS_socket, sockets);
    Ok(())
}

const NETWORK: &[libc::c_long] = &[
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_sendmmsg,
    libc::SYS_recvmmsg,
    libc::SYS_openat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_uname,
];

/// Two arguments that, masked, have these values.
fn both(first: (u8, u64, u64), second: (u8, u64, u64)) -> io::Result<SeccompRule> {
    let masked = |(argument, mask, value)| condition(argument, SeccompCmpOp::MaskedEq(mask), value);
    SeccompRule::new(vec![masked(first)?, masked(second)?]).map_err(io::Error::other)
}

/// From now on this process can run only the code that it has: no memory becomes executable any more.
///
/// # Errors
/// When the kernel refuses the filter: the process must end then.
pub fn forbid_new_code() -> io::Result<()> {
    let executable = libc::PROT_EXEC as u64;
    let rules = Rules::from([
        (libc::SYS_mmap, vec![having(2, executable)?]),
        (libc::SYS_mprotect, vec![having(2, executable)?]),
        (libc::SYS_memfd_create, Vec::new()),
    ]);
    install(rules, SeccompAction::Allow, SeccompAction::Errno(libc::EPERM as u32))
}

/// An argument that has all of these bits.
fn having(argument: u8, bits: u64) -> io::Result<SeccompRule> {
    rule(argument, SeccompCmpOp::MaskedEq(bits), bits)
}

/// An argument that is this.
fn being(argument: u8, value: u64) -> io::Result<SeccompRule> {
    rule(argument, SeccompCmpOp::Eq, value)
}

fn rule(argument: u8, operator: SeccompCmpOp, value: u64) -> io::Result<SeccompRule> {
    SeccompRule::new(vec![condition(argument, operator, value)?]).map_err(io::Error::other)
}

fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> io::Result<SeccompCondition> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value).map_err(io::Error::other)
}

fn install(rules: Rules, otherwise: SeccompAction, matching: SeccompAction) -> io::Result<()> {
    let architecture = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    let filter = SeccompFilter::new(rules, otherwise, matching, architecture).map_err(io::Error::other)?;
    let program: BpfProgram = filter.try_into().map_err(io::Error::other)?;
    apply_filter_all_threads(&program).map_err(io::Error::other)
}
