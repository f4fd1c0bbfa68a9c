//! The cage on Linux: a user namespace, Landlock for files, seccomp for system calls.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use nix::{
    libc,
    sched::{CloneFlags, unshare},
    unistd::{Gid, Uid, getgid, getuid, setgid, setgroups, setuid},
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};

use super::{Held, Limits};

/// What a program needs to start: code, libraries, fonts, time zones. Nothing of a user's.
const SYSTEM: &[&str] = &[
    "/bin",
    "/etc/alternatives",
    "/etc/fonts",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix/store",
    "/sbin",
    "/usr",
];
/// Devices that hold nothing.
const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"];

/// Becomes `nobody` for good if this is root, which no limit on processes binds and no file is closed to.
pub(super) fn step_down(nobody: u32) -> io::Result<()> {
    if !getuid().is_root() {
        return Ok(());
    }
    setgroups(&[])?;
    setgid(Gid::from_raw(nobody))?;
    setuid(Uid::from_raw(nobody))?;
    // Whoever changes its user may no longer describe itself in /proc, which the namespace needs.
    nix::sys::prctl::set_dumpable(true)?;
    Ok(())
}

/// As much of the cage as this kernel knows.
pub(super) fn confine(limits: &Limits, read: &[PathBuf], folder: Option<&Path>) -> Held {
    let tasks = own_namespace().is_ok() && count_tasks(limits.tasks).is_ok();
    let files = confine_files(read, folder);
    let (refused, unknown) = (refused_calls(limits.forks), unknown_calls());
    let eperm = SeccompAction::Errno(errno(libc::EPERM));
    let enosys = SeccompAction::Errno(errno(libc::ENOSYS));
    let calls = filter(unknown, enosys).and_then(|()| filter(refused, eperm)).is_some();
    Held { files, network: calls, processes: calls, tasks }
}

/// Ends with whoever started it: a node that is killed leaves no tool behind.
pub(crate) fn die_with_parent() -> io::Result<()> {
    Ok(nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?)
}

/// A namespace in which the tasks of this user are counted from nought; and one without a network.
fn own_namespace() -> io::Result<()> {
    let (uid, gid) = (getuid(), getgid());
    unshare(CloneFlags::CLONE_NEWUSER)?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
    // Sockets are refused anyway; some systems grant users no networks of their own.
    let _ = unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC);
    Ok(())
}

fn count_tasks(most: u64) -> io::Result<()> {
    rlimit::Resource::NPROC.set(most, most)
}

fn confine_files(read: &[PathBuf], folder: Option<&Path>) -> bool {
    use landlock::{
        ABI, Access, AccessFs, AccessNet, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
        path_beneath_rules,
    };
    // An older kernel confines less; what this one does is in the status.
    let abi = ABI::V6;
    let reading = AccessFs::from_read(abi);
    // What a tool writes is nothing that it may start.
    let writing = AccessFs::from_all(abi) & !AccessFs::Execute;
    let device = AccessFs::ReadFile | AccessFs::WriteFile;
    let (none, nothing): (&[&str], &[&str]) = (&[], &[]);
    // A parser that has started needs no file at all.
    let (system, devices) = if folder.is_some() { (SYSTEM, DEVICES) } else { (none, nothing) };
    let confined = landlock::Ruleset::default()
        .handle_access(AccessFs::from_all(abi))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(abi)))
        .and_then(|rules| rules.scope(Scope::from_all(abi)))
        .and_then(landlock::Ruleset::create)
        .and_then(|rules| rules.add_rules(path_beneath_rules(system, reading)))
        .and_then(|rules| rules.add_rules(path_beneath_rules(devices, device)))
        .and_then(|rules| rules.add_rules(path_beneath_rules(read, reading)))
        .and_then(|rules| rules.add_rules(path_beneath_rules(folder, writing)))
        .and_then(landlock::RulesetCreated::restrict_self);
    confined.is_ok_and(|status| status.ruleset != RulesetStatus::NotEnforced)
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// `fchmodat2(2)`, by its number, which is the same everywhere.
const FCHMODAT2: i64 = 452;

/// Calls that reach out of the cage: to the network, to other processes, to the kernel's workings, and out of the
/// process group by which a tool is killed.
fn refused_calls(forks: bool) -> Rules {
    let always = [
        libc::SYS_socket,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_process_madvise,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_getfd,
        libc::SYS_pidfd_send_signal,
        libc::SYS_rt_sigqueueinfo,
        libc::SYS_rt_tgsigqueueinfo,
        libc::SYS_tkill,
        libc::SYS_setsid,
        libc::SYS_setpgid,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_keyctl,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_open_by_handle_at,
        libc::SYS_kexec_load,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
        libc::SYS_shmget,
        libc::SYS_mq_open,
        // Landlock lets these pass, the first one before its third version.
        libc::SYS_truncate,
        libc::SYS_fchmodat,
        libc::SYS_fchownat,
        libc::SYS_setxattr,
        libc::SYS_lsetxattr,
        libc::SYS_removexattr,
        libc::SYS_lremovexattr,
        FCHMODAT2,
    ];
    #[cfg(target_arch = "x86_64")]
    let older = [libc::SYS_chmod, libc::SYS_chown, libc::SYS_lchown];
    #[cfg(not(target_arch = "x86_64"))]
    let older = [];
    let mut rules: Rules = always.into_iter().chain(older).map(|call| (call, Vec::new())).collect();
    let own = u64::from(std::process::id());
    // To itself: the process stays the same when it becomes the tool. Nought is itself, or its group.
    rules.insert(libc::SYS_tgkill, not(&[own]));
    rules.insert(libc::SYS_kill, not(&[own, 0]));
    rules.insert(libc::SYS_prlimit64, not(&[own, 0]));
    let flag = |flag: i32, wanted: bool| {
        let bits = u64::from(flag.unsigned_abs());
        rule(SeccompCmpOp::MaskedEq(bits), if wanted { bits } else { 0 })
    };
    if forks {
        rules.insert(libc::SYS_clone, flag(libc::CLONE_NEWUSER, true));
    } else {
        rules.insert(libc::SYS_clone, flag(libc::CLONE_THREAD, false));
        #[cfg(target_arch = "x86_64")]
        rules.extend([(libc::SYS_fork, Vec::new()), (libc::SYS_vfork, Vec::new())]);
    }
    rules
}

/// Calls whose arguments no filter can read, or that hide memory and sockets from limits: programs do without
/// them on kernels that do not know them.
fn unknown_calls() -> Rules {
    [libc::SYS_clone3, libc::SYS_io_uring_setup, libc::SYS_memfd_create]
        .into_iter()
        .map(|call| (call, Vec::new()))
        .collect()
}

/// Matches calls whose first argument is none of these.
fn not(allowed: &[u64]) -> Vec<SeccompRule> {
    let conditions = allowed
        .iter()
        .map(|value| SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, *value));
    let conditions: Result<Vec<_>, _> = conditions.collect();
    conditions.and_then(SeccompRule::new).map(|rule| vec![rule]).unwrap_or_default()
}

/// Matches calls by their first argument.
fn rule(compare: SeccompCmpOp, value: u64) -> Vec<SeccompRule> {
    let condition = SeccompCondition::new(0, SeccompCmpArgLen::Qword, compare, value);
    condition.and_then(|it| SeccompRule::new(vec![it])).map(|rule| vec![rule]).unwrap_or_default()
}

fn errno(number: i32) -> u32 {
    number.unsigned_abs()
}

/// Has these calls end as `refusal` says, from here on; `None` if this kernel cannot.
fn filter(rules: Rules, refusal: SeccompAction) -> Option<()> {
    // The numbers of the second interface of this processor are others' first ones; both are refused.
    #[cfg(target_arch = "x86_64")]
    let rules = {
        const X32: i64 = 0x4000_0000;
        let twice = rules.iter().map(|(call, rule)| (call | X32, rule.clone())).collect::<Vec<_>>();
        rules.into_iter().chain(twice).collect::<Rules>()
    };
    let architecture = std::env::consts::ARCH.try_into().ok()?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refusal, architecture).ok()?;
    let program: BpfProgram = filter.try_into().ok()?;
    apply_filter(&program).ok()
}
