//! What a trivial step costs: a static program in a container over three layers, from the call to its exit.

use std::fs;
use std::path::{Path, PathBuf};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use kiln::runtime::{ContainerSpec, Durability, Native, Network, RootMount};
use kiln::sys::Cancel;
use tempfile::TempDir;

fn spec(directory: &Path, network: Network) -> ContainerSpec {
    let root = RootMount::Overlay {
        lower: ["2", "1", "0"].map(|layer| directory.join(layer)).to_vec(),
        images: Vec::new(),
        upper: PathBuf::new(),
        work: PathBuf::new(),
        durability: Durability::Volatile,
        userxattr: false,
    };
    let mut spec = ContainerSpec::new(root, vec!["/true".into()]);
    spec.network = network;
    spec.resolv_conf = Some(b"nameserver 192.0.2.1\n".to_vec());
    spec.hosts = Some(b"127.0.0.1\tlocalhost\n".to_vec());
    spec
}

/// Gives `base` directories for its changes, as every step gets its own.
fn with_fresh_upper(base: &ContainerSpec, directory: &Path) -> (ContainerSpec, TempDir) {
    let own = tempfile::tempdir_in(directory).unwrap();
    let mut spec = base.clone();
    let RootMount::Overlay { upper, work, .. } = &mut spec.rootfs else { unreachable!("as spec() makes it") };
    (*upper, *work) = (own.path().join("upper"), own.path().join("work"));
    fs::create_dir(&upper).unwrap();
    fs::create_dir(&work).unwrap();
    (spec, own)
}

/// Makes a program that exits at once.
fn make_true(path: &Path) {
    const EXIT: &str = if cfg!(target_arch = "aarch64") {
        "mov x8, #93; mov x0, #0; svc #0"
    } else {
        "mov $60, %eax; xor %edi, %edi; syscall"
    };
    let source = path.with_extension("c");
    fs::write(&source, format!("void _start(void) {{ __asm__ volatile(\"{EXIT}\"); }}")).unwrap();
    let built =
        std::process::Command::new("cc").args(["-nostdlib", "-static", "-o"]).args([path, &source]).status().unwrap();
    assert!(built.success());
}

fn trivial_step(c: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    for name in ["0/etc", "1/usr", "2/tmp"] {
        fs::create_dir_all(directory.path().join(name)).unwrap();
    }
    make_true(&directory.path().join("0/true"));
    let native = Native::with_init(env!("CARGO_BIN_EXE_kiln"));
    for (name, network) in [("host", Network::Host), ("none", Network::None)] {
        let spec = spec(directory.path(), network);
        c.bench_function(&format!("run/trivial step, network {name}"), |bencher| {
            let step = |(spec, own): (ContainerSpec, TempDir)| {
                let exit = native.run(&spec, &mut |_, _| {}, &Cancel::new()).unwrap();
                assert!(exit.status.success());
                own
            };
            bencher.iter_batched(|| with_fresh_upper(&spec, directory.path()), step, BatchSize::SmallInput);
        });
    }
}

criterion_group!(benches, trivial_step);
criterion_main!(benches);
