//! Writing a layer from memory, reading it back, and compressing it: each against what must be done at the least, the
//! SHA-256 of the same bytes.

use std::fs::File;
use std::hint::black_box;
use std::io::Write;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kiln::layer::{Compressor, Content, Limits, Metadata, Method, Writer, read};
use kiln::oci::{Digest, HashingWriter};

const FILES: usize = 2_000;
const FILE_BYTES: usize = 16_000;

/// Bytes that compress to about half.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let step = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some((state >> 28) as u8 + b'a')
    };
    std::iter::from_fn(step).take(length).collect()
}

fn layer(bytes: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::with_capacity(bytes.len() + FILES * 1024));
    let metadata = Metadata { mode: 0o644, ..Metadata::default() };
    for (number, mut content) in bytes.chunks(FILE_BYTES).enumerate() {
        let size = content.len() as u64;
        let path = format!("usr/share/file-{number:05}");
        writer.append(path.as_bytes(), &metadata, Content::File { size, reader: &mut content }).unwrap();
    }
    writer.finish().unwrap().0
}

fn benches(criterion: &mut Criterion) {
    let bytes = noise(FILES * FILE_BYTES);
    let archive = layer(&bytes);
    let mut group = criterion.benchmark_group("layer");
    group.throughput(Throughput::Bytes(bytes.len() as u64)).sample_size(10);
    group.bench_function("sha256 of the same bytes", |bench| bench.iter(|| Digest::of(black_box(&bytes))));
    group.bench_function("write", |bench| bench.iter(|| layer(black_box(&bytes))));
    group.bench_function("read", |bench| bench.iter(|| read(black_box(&archive[..]), &Limits::default()).unwrap()));
    group.bench_function("flate2, one thread", |bench| {
        bench.iter(|| {
            let level = flate2::Compression::new(Method::Gzip.usual().level().into());
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(black_box(&archive)).unwrap();
            encoder.finish().unwrap()
        });
    });
    let path = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&path, &archive).unwrap();
    for method in [Method::Gzip, Method::Zstd] {
        // As a layer is compressed: read from the store, and digested on its way back into it.
        group.bench_function(format!("{}, file to digest", method.name()), |bench| {
            bench.iter(|| {
                let mut compressor = Compressor::new(method.usual(), HashingWriter::new(std::io::sink()));
                std::io::copy(&mut File::open(&path).unwrap(), &mut compressor).unwrap();
                compressor.finish().unwrap().finish().1
            });
        });
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
