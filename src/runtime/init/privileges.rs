use rustix::thread::{CapabilitySet, CapabilitySets, configure_capability_in_ambient_set};

use super::user::User;
use crate::runtime::error::UserError;
use crate::runtime::ids::Ids;
use crate::runtime::wire::{Failure, Step};
use crate::sys::ns;
use crate::sys::seccomp::{self, Instruction};

/// What a container may do at most: Docker's default set, 0xa80425fb.
const CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::AUDIT_WRITE)
    .union(CapabilitySet::SETFCAP);

/// Becomes `user` with every capability there is; those of a user other than 0 go with it.
pub(super) fn keep_as(user: &User, ids: Ids) -> Result<(), Failure> {
    become_user(user, ids)?;
    if user.uid != 0 {
        return Ok(());
    }
    let mut sets = rustix::thread::capabilities(None).step("look at capabilities")?;
    sets.inheritable = sets.permitted;
    sets.effective = sets.permitted;
    rustix::thread::set_capabilities(None, sets).step("keep capabilities")?;
    for capability in sets.permitted.iter() {
        configure_capability_in_ambient_set(capability, true).step("keep capabilities")?;
    }
    Ok(())
}

/// Installs the filter, which needs the capabilities that go next, and becomes `user`.
pub(super) fn drop_to(user: &User, ids: Ids, filter: &[Instruction]) -> Result<(), Failure> {
    seccomp::install(filter).step("install the system call filter")?;
    for capability in 0..64 {
        if !CAPABILITIES.contains(CapabilitySet::from_bits_retain(1 << capability))
            && !ns::drop_from_bounding_set(capability)
        {
            // Numbers end where this kernel's capabilities end.
            break;
        }
    }
    become_user(user, ids)?;
    let allowed = if user.uid == 0 { CAPABILITIES } else { CapabilitySet::empty() };
    let sets = CapabilitySets { effective: allowed, permitted: allowed, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).step("drop capabilities")
}

/// Changes groups, group and user, in this order because each needs the ones after it to be still root. Capabilities
/// of a user other than 0 go with it.
fn become_user(user: &User, ids: Ids) -> Result<(), Failure> {
    let not_mapped = || Failure::User(UserError::NotMapped { uid: user.uid, gid: user.gid });
    if let Ids::Single { .. } = ids {
        // setgroups(2) is forbidden there, and there are no other groups anyway.
        return if (user.uid, user.gid) == (0, 0) { Ok(()) } else { Err(not_mapped()) };
    }
    let groups: Vec<_> = user.groups.iter().map(|group| nix::unistd::Gid::from_raw(*group)).collect();
    nix::unistd::setgroups(&groups).step("set groups")?;
    let gid = rustix::thread::Gid::from_raw(user.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid).step("set the group")?;
    let uid = rustix::thread::Uid::from_raw(user.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid).step("set the user")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_is_dockers() {
        assert_eq!(CAPABILITIES.bits(), 0xa804_25fb);
    }
}
