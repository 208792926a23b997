use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use kiln::image::{Image, Layer};
use kiln::oci::{Descriptor, DiffId, Digest, Encoded, ImageConfig, Platform, media_type};
use kiln::store::Store;

/// An HTTP/1.1 server on loopback that answers as a test wants and remembers what it was asked. One request a connection.
pub struct FaultServer {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// A request.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub method: String,
    /// Path and query.
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Asked {
    /// Returns a header by its lower-case name; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Tells whether it has this method, or whatever method where that is empty, and a path with this part.
    pub fn is(&self, method: &str, part: &str) -> bool {
        (method.is_empty() || self.method == method) && self.path.contains(part)
    }
}

/// What the server does about a request.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    pub end: End,
}

/// How a reply ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Whole,
    /// The body has the right length in its header, and ends after so many bytes.
    CutAfter(usize),
    /// The same, but the connection stays.
    SilentAfter(usize),
    /// Nothing is said at all, and the connection stays.
    Silent,
    /// Nobody says how long the body is.
    Unframed,
}

impl Reply {
    pub fn status(status: u16) -> Reply {
        Reply { status, headers: Vec::new(), body: Vec::new(), end: End::Whole }
    }

    pub fn ok(body: impl Into<Vec<u8>>) -> Reply {
        Reply { body: body.into(), ..Reply::status(200) }
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }

    pub fn end(self, end: End) -> Reply {
        Reply { end, ..self }
    }
}

impl FaultServer {
    pub fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> FaultServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (asked.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, answer) = (log.clone(), answer.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &log, &*answer));
            }
        });
        FaultServer { port, asked }
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns the requests so far that have this method and contain this part of a path.
    pub fn asked(&self, method: &str, part: &str) -> Vec<Asked> {
        self.asked.lock().unwrap().iter().filter(|asked| asked.is(method, part)).cloned().collect()
    }
}

fn serve(stream: TcpStream, log: &Mutex<Vec<Asked>>, answer: &dyn Fn(&Asked) -> Reply) {
    let Some(asked) = read(&stream) else { return };
    log.lock().unwrap().push(asked.clone());
    let reply = answer(&asked);
    // The other side may have left already.
    let _ = write(&stream, &reply, asked.method == "HEAD");
    if matches!(reply.end, End::SilentAfter(_) | End::Silent) {
        let _ = (&stream).read(&mut [0]);
    }
    let _ = stream.shutdown(Shutdown::Write);
    // Closed with something unread, a connection is reset, and the reply lost.
    let _ = (&stream).read_to_end(&mut Vec::new());
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut lines = BufReader::new(stream);
    let mut line = || {
        let mut text = String::new();
        lines.read_line(&mut text).ok()?;
        Some(text.trim_end().to_owned())
    };
    let first = line()?;
    let (method, rest) = first.split_once(' ')?;
    let path = rest.split(' ').next()?.to_owned();
    let mut asked = Asked { method: method.to_owned(), path, ..Asked::default() };
    loop {
        let header = line()?;
        let Some((name, value)) = header.split_once(':') else { break };
        asked.headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = asked.header("content-length").parse().unwrap_or(0);
    asked.body = vec![0; length];
    lines.read_exact(&mut asked.body).ok()?;
    Some(asked)
}

fn write(mut stream: &TcpStream, reply: &Reply, head: bool) -> std::io::Result<()> {
    if reply.end == End::Silent {
        return Ok(());
    }
    let mut text = format!("HTTP/1.1 {} Status\r\nConnection: close\r\n", reply.status);
    if reply.end != End::Unframed {
        text += &format!("Content-Length: {}\r\n", reply.body.len());
    }
    for (name, value) in &reply.headers {
        text += &format!("{name}: {value}\r\n");
    }
    stream.write_all((text + "\r\n").as_bytes())?;
    let end = match reply.end {
        End::CutAfter(end) | End::SilentAfter(end) => end,
        _ => reply.body.len(),
    };
    if head { Ok(()) } else { stream.write_all(&reply.body[..end]) }
}

/// An image, as a registry has it: with a layer that does not fit into a few packets.
#[derive(Debug, Clone)]
pub struct Published {
    pub manifest: Vec<u8>,
    pub config: Digest,
    pub layer: Digest,
    pub blobs: BTreeMap<Digest, Vec<u8>>,
}

impl Published {
    pub fn new() -> Published {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let image = Published::put(&store);
        let (config, layer) = (image.manifest().value().config.digest, image.manifest().value().layers[0].digest);
        let blobs = [config, layer].map(|digest| (digest, store.read_blob(digest, u64::MAX).unwrap()));
        Published { manifest: image.manifest().bytes().to_vec(), config, layer, blobs: BTreeMap::from(blobs) }
    }

    /// Makes the image in a store.
    pub fn put(store: &Store) -> Image {
        let mut seed = 1_u32;
        let noise = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        });
        let noise: Vec<u8> = noise.take(1_000_000).collect();
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(noise.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        tar.append_data(&mut header, "noise", &noise[..]).unwrap();
        let tar = tar.into_inner().unwrap();
        store.put_bytes(&tar).unwrap();
        let layer = Layer { diff_id: DiffId::new(Digest::of(&tar)), blob: Descriptor::of(media_type::OCI_LAYER, &tar) };
        let host = Platform::host();
        let config = ImageConfig { os: host.os, architecture: host.architecture, ..ImageConfig::default() };
        let image = Image::assemble(config, &[layer]).unwrap();
        // Not as kiln would write it: what others wrote has to stay as it is.
        let config = [image.config().bytes(), b"\n"].concat();
        let config = Encoded::decode("config", media_type::OCI_CONFIG, config).unwrap();
        let mut manifest = image.manifest().value().clone();
        manifest.config = config.descriptor().clone();
        let image = Image::new(Encoded::encode(media_type::OCI_MANIFEST, manifest), config).unwrap();
        for document in [image.manifest().bytes(), image.config().bytes()] {
            store.put_bytes(document).unwrap();
        }
        image
    }

    /// Returns the bytes of the layer.
    pub fn layer(&self) -> &[u8] {
        &self.blobs[&self.layer]
    }

    /// Answers as a registry that has the image, and honours ranges.
    pub fn answer(&self, asked: &Asked) -> Reply {
        if asked.path.ends_with("/v2/") {
            return Reply::ok("{}");
        }
        if asked.path.contains("/manifests/") {
            return Reply::ok(self.manifest.clone()).header("Content-Type", media_type::OCI_MANIFEST);
        }
        let blob = self.blobs.iter().find(|(digest, _)| asked.path.ends_with(&format!("/blobs/{digest}")));
        let Some((_, bytes)) = blob else {
            return Reply { body: br#"{"errors":[{"code":"BLOB_UNKNOWN"}]}"#.to_vec(), ..Reply::status(404) };
        };
        let start =
            asked.header("range").strip_prefix("bytes=").and_then(|range| range.strip_suffix('-')?.parse().ok());
        match start {
            Some(start) => Reply { status: 206, ..Reply::ok(&bytes[start..]) }
                .header("Content-Range", format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len())),
            None => Reply::ok(bytes.clone()),
        }
    }
}
