//! What a trivial step costs: a static program in a container over three layers, from the call to its exit.

use std::fs;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use kiln::runtime::{ContainerSpec, Native, Network, RootMount};
use kiln::sys::Cancel;

fn spec(directory: &Path, network: Network) -> ContainerSpec {
    let root = RootMount::Overlay {
        lower: ["2", "1", "0"].map(|layer| directory.join(layer)).to_vec(),
        upper: directory.join("upper"),
        work: directory.join("work"),
        userxattr: false,
    };
    let mut spec = ContainerSpec::new(root, vec!["/true".into()]);
    spec.network = network;
    spec.resolv_conf = Some(b"nameserver 192.0.2.1\n".to_vec());
    spec.hosts = Some(b"127.0.0.1\tlocalhost\n".to_vec());
    spec
}

/// A program of 120 bytes of code that exits at once, assembled for this machine by the system's compiler.
fn make_true(path: &Path) {
    let source = path.with_extension("c");
    fs::write(&source, "void _start(void) { __asm__ volatile(\"mov $60, %eax; xor %edi, %edi; syscall\"); }").unwrap();
    let built =
        std::process::Command::new("cc").args(["-nostdlib", "-static", "-o"]).args([path, &source]).status().unwrap();
    assert!(built.success());
}

fn trivial_step(c: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    for name in ["0/etc", "1/usr", "2/tmp", "upper", "work"] {
        fs::create_dir_all(directory.path().join(name)).unwrap();
    }
    make_true(&directory.path().join("0/true"));
    let native = Native::with_init(env!("CARGO_BIN_EXE_kiln"));
    for (name, network) in [("host", Network::Host), ("none", Network::None)] {
        let spec = spec(directory.path(), network);
        c.bench_function(&format!("run/trivial step, network {name}"), |bencher| {
            bencher.iter(|| {
                let exit = native.run(&spec, &mut |_, _| {}, &Cancel::new()).unwrap();
                assert!(exit.status.success());
            });
        });
    }
}

criterion_group!(benches, trivial_step);
criterion_main!(benches);
