//! Proof of equal work: the digest of what an image holds once its layers are put on top of each other.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::Result;

/// What runtimes leave of the files and directories they mount: no part of the work.
const STUBS: &[&str] = &["etc/hosts", "etc/resolv.conf", "etc/hostname", "run/.containerenv", "dev/", "proc/", "sys/"];

/// The files and links of an image: what they are called, their sizes and their contents. Directories, owners and times
/// are left out, since builders rightly differ there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listing {
    pub files: u64,
    pub bytes: u64,
    pub sha256: String,
}

/// Reads a `docker save` archive, after unpacking it into `scratch`, in a process of its own: this one stays small.
pub(crate) fn of_archive(archive: &Path, scratch: &Path) -> Result<Listing> {
    fs::create_dir_all(scratch)?;
    tar::Archive::new(File::open(archive)?).unpack(scratch)?;
    let manifest: Value = serde_json::from_slice(&fs::read(scratch.join("manifest.json"))?)?;
    let layers = manifest[0]["Layers"].as_array().ok_or("an archive without layers")?;
    let listing = of_layers(&layers.iter().map(|name| scratch.join(name.as_str().unwrap_or(""))).collect::<Vec<_>>());
    fs::remove_dir_all(scratch)?;
    listing
}

pub(crate) fn of_layers(layers: &[PathBuf]) -> Result<Listing> {
    let output = Command::new(std::env::current_exe()?).arg("--list").args(layers).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The other side of [`of_layers`].
pub(crate) fn serve(layers: &[PathBuf]) -> Result<()> {
    let mut found = BTreeMap::new();
    let mut hidden = HashSet::new();
    for layer in layers.iter().rev() {
        read_layer(layer, &mut found, &mut hidden)?;
    }
    let mut sha256 = Sha256::new();
    let bytes = found.values().map(|(size, _)| size).sum();
    let mut files = 0;
    for (path, (size, content)) in &found {
        files += 1;
        sha256.update(format!("{path} {size} {content}\n"));
    }
    serde_json::to_writer(io::stdout(), &Listing { files, bytes, sha256: hex(&sha256.finalize()) })?;
    Ok(())
}

/// Adds what no layer above has or hides. `hidden` are paths that layers above replaced or deleted, with all below them.
fn read_layer(layer: &Path, found: &mut BTreeMap<String, (u64, String)>, hidden: &mut HashSet<String>) -> Result<()> {
    let mut hides = Vec::new();
    for entry in tar::Archive::new(open(layer)?).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().trim_start_matches("./").trim_matches('/').to_owned();
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if let Some(deleted) = name.strip_prefix(".wh.") {
            let below = if deleted == ".wh..opq" { parent.to_owned() } else { format!("{parent}/{deleted}") };
            hides.push(below.trim_start_matches('/').to_owned());
            continue;
        }
        let kind = entry.header().entry_type();
        let covered = ancestors(&path).any(|path| hidden.contains(path)) || found.contains_key(&path);
        if kind.is_dir() || covered || STUBS.iter().any(|stub| path == *stub || path.starts_with(stub)) {
            continue;
        }
        let content = match entry.link_name()? {
            Some(target) => target.to_string_lossy().into_owned(),
            None => digest(&mut entry)?,
        };
        hides.push(path.clone());
        found.insert(path, (entry.size(), content));
    }
    hidden.extend(hides);
    Ok(())
}

fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| path.rsplit_once('/').map(|(parent, _)| parent))
}

fn open(layer: &Path) -> Result<Box<dyn Read>> {
    let mut magic = [0; 2];
    File::open(layer)?.read_exact(&mut magic)?;
    let file = BufReader::with_capacity(1 << 20, File::open(layer)?);
    Ok(if magic == [0x1f, 0x8b] { Box::new(flate2::bufread::MultiGzDecoder::new(file)) } else { Box::new(file) })
}

fn digest(reader: &mut impl Read) -> Result<String> {
    let mut sha256 = Sha256::new();
    let mut block = vec![0; 64 << 10];
    loop {
        match reader.read(&mut block)? {
            0 => return Ok(hex(&sha256.finalize())),
            count => sha256.update(&block[..count]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
