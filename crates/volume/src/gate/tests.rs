use std::sync::Arc;

use ocfs2_format::Structure;
use ocfs2_format::dinode::Dinode;
use ocfs2_format::superblock::SuperBlock;

use super::*;
use crate::sample;
use ocfs2_device::MemoryDevice;

fn gate() -> (Gate, Arc<MemoryDevice>) {
    let (volume, device) = sample::volume();
    (Gate::of_volume(&volume, &Usage::default()).unwrap(), device)
}

fn refused(gate: &Gate, planned: Planned<'_>) -> String {
    gate.open(planned).err().expect("the gate is shut").to_string()
}

/// Changes the superblock on the device.
fn edit(device: &MemoryDevice, change: impl FnOnce(&mut Dinode, &mut SuperBlock)) {
    let mut block = vec![0; 512];
    device.read_at(&mut block, 1024).unwrap();
    let mut dinode = Dinode::decode(&block).unwrap();
    let mut superblock = SuperBlock::decode(&block[Dinode::ID2_OFFSET..]).unwrap();
    change(&mut dinode, &mut superblock);
    dinode.encode(&mut block).unwrap();
    superblock.encode(&mut block[Dinode::ID2_OFFSET..]).unwrap();
    device.write_at(&block, 1024).unwrap();
}

#[test]
fn only_a_pass_writes() {
    let (gate, device) = gate();
    let sealed = gate.sealed();
    for result in
        [sealed.write_at(&[1], 9000), sealed.zero(0, 4096), sealed.discard(0, 4096).map(drop)]
    {
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
    let pass = gate.open(Planned::default()).unwrap();
    pass.write_at(&[7], 9000).unwrap();
    let mut byte = [0];
    sealed.read_at(&mut byte, 9000).unwrap();
    assert_eq!((byte, device.to_bytes()[9000]), ([7], 7));
}

#[test]
fn another_volume_is_told_from_a_changed_one() {
    let (gate, device) = gate();
    edit(&device, |_, superblock| superblock.s_mnt_count += 1);
    assert_eq!(
        refused(&gate, Planned::default()),
        "the superblock in block 2 was changed meanwhile"
    );
    edit(&device, |dinode, _| dinode.i_fs_generation = 8);
    let text = refused(&gate, Planned::default());
    assert_eq!(text, "the volume was made again: its generation is 0x00000008, it was 0x00000007");
    edit(&device, |_, superblock| superblock.s_uuid = [1; 16]);
    let text = refused(&gate, Planned::default());
    assert!(
        text.starts_with("another volume is on the device now: its UUID is 01010101"),
        "{text}"
    );
    device.zero(0, 4096).unwrap();
    assert!(refused(&gate, Planned::default()).starts_with("the volume is gone"));
}

#[test]
fn what_is_covered_has_to_be_what_it_was_and_what_was_written_is_what_it_will_be() {
    let (gate, device) = gate();
    let changes = OverlayDevice::new(gate.sealed(), 512).remembering();
    let changes: Arc<OverlayDevice<Arc<dyn Device>>> = Arc::new(changes);
    changes.write_at(&[5; 512], 40 * 512).unwrap();
    let mut block = vec![0; 512];
    changes.read_at(&mut block, 1024).unwrap();
    block[511] = 9;
    changes.write_at(&block, 1024).unwrap();
    let outcome: Arc<dyn Device> = changes.clone();
    let worked: [&dyn Worked; 1] = [&*changes];
    let planned = Planned { changes: &worked, outcome: Some(&outcome) };

    device.write_at(&[1], 40 * 512 + 3).unwrap();
    assert_eq!(refused(&gate, planned), "block 40, which is to be written, was changed meanwhile");
    device.write_at(&[0], 40 * 512 + 3).unwrap();
    let pass = gate.open(planned).unwrap();
    changes.for_each_change(|offset, bytes| pass.write_at(bytes, offset)).unwrap();
    drop(pass);
    // The superblock as it was written is the right one now.
    gate.open(Planned::default()).unwrap();
    device.write_at(&[8], 1024 + 511).unwrap();
    refused(&gate, Planned::default());
}

#[test]
fn a_write_that_failed_leaves_the_superblock_as_it_was() {
    let (gate, device) = gate();
    let changes: Arc<OverlayDevice<Arc<dyn Device>>> =
        Arc::new(OverlayDevice::new(gate.sealed(), 512).remembering());
    let mut block = vec![0; 512];
    changes.read_at(&mut block, 1024).unwrap();
    block[511] = 9;
    changes.write_at(&block, 1024).unwrap();
    let outcome: Arc<dyn Device> = changes.clone();
    let planned = Planned { changes: &[&*changes], outcome: Some(&outcome) };
    // Nothing reaches the device, which is not a change by another one.
    drop(gate.open(planned).unwrap());
    gate.open(planned).unwrap().still().unwrap();
    device.write_at(&[8], 1024 + 511).unwrap();
    refused(&gate, planned);
}

#[test]
fn what_is_no_volume_can_be_remembered_too() {
    let device = Arc::new(MemoryDevice::new(1 << 20));
    let gate = Gate::of_device(device.clone());
    let gate = gate.with_range("the signature of xfs", 0..4).unwrap();
    device.write_at(&[1], 4).unwrap();
    gate.open(Planned::default()).unwrap();
    device.write_at(&[1], 3).unwrap();
    assert_eq!(refused(&gate, Planned::default()), "the signature of xfs was changed meanwhile");
}

#[test]
fn a_lock_that_is_lost_shuts_the_gate() {
    struct Lost(Mutex<bool>);
    impl Lock for Arc<Lost> {
        fn check(&self) -> Result<(), String> {
            if *self.0.lock().unwrap() { Err("the node was fenced".to_owned()) } else { Ok(()) }
        }
    }
    let (gate, _device) = gate();
    let lock = Arc::new(Lost(Mutex::new(false)));
    let gate = gate.holding(Box::new(Arc::clone(&lock)));
    gate.open(Planned::default()).unwrap();
    *lock.0.lock().unwrap() = true;
    assert_eq!(
        refused(&gate, Planned::default()),
        "the cluster's lock is not held any more: the node was fenced"
    );
}
