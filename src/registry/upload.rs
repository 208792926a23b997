use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use reqwest::header::CONTENT_LENGTH;
use reqwest::{Body, RequestBuilder, Response};
use tokio::sync::mpsc;

use super::answer::SILENCE;
use super::meter::Meter;
use crate::oci::Digest;
use crate::store::{self, Store};
use crate::{net, sys::Cancel};

/// Read at once; a few of these are under way.
const CHUNK_BYTES: usize = 256 * 1024;
const CHUNKS: usize = 2;

/// Registries digest what they got, and may move it elsewhere, before they answer.
const DIGESTION: Duration = Duration::from_secs(300);

/// A blob of the store on its way to a registry.
#[derive(Clone, Copy)]
pub(super) struct Upload<'a> {
    pub(super) store: &'a Store,
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) progress: &'a dyn Fn(u64),
    pub(super) cancel: &'a Cancel,
}

/// Why an upload was not answered.
pub(super) enum Error {
    Network(net::Error),
    Store(store::Error),
}

impl From<net::Error> for Error {
    fn from(error: net::Error) -> Error {
        Error::Network(error)
    }
}

/// Sends the blob as the body of a request. It is read on this thread and never in memory as a whole.
pub(super) async fn send(request: RequestBuilder, upload: &Upload<'_>) -> Result<Response, Error> {
    let file = upload.store.open_blob(upload.digest).map_err(Error::Store)?;
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(CHUNKS);
    let chunks = stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
    let answer = request.header(CONTENT_LENGTH, upload.size).body(Body::wrap_stream(chunks)).send();
    tokio::select! {
        answer = answer => answer.map_err(|error| net::Error::from(error).into()),
        failure = feed(file, sender, upload) => match failure { Err(error) => Err(error), Ok(never) => match never {} },
    }
}

/// Hands the file over in chunks, then waits for an answer that somebody else receives.
async fn feed(
    mut file: File,
    sender: mpsc::Sender<io::Result<Bytes>>,
    upload: &Upload<'_>,
) -> Result<Infallible, Error> {
    let mut meter = Meter::new(upload.progress);
    let mut sent = 0;
    while sent < upload.size {
        upload.cancel.check().map_err(net::Error::from)?;
        let chunk = read(&mut file)
            .map_err(|source| Error::Store(store::Error::io("read", upload.store.blob_path(upload.digest), source)))?;
        if chunk.is_empty() {
            // The file is shorter than its descriptor says; the registry must not take it for the blob.
            let actual = sent;
            let (digest, expected) = (upload.digest, upload.size);
            return Err(Error::Store(store::Error::SizeMismatch { digest, expected, actual }));
        }
        sent += chunk.len() as u64;
        if net::within(SILENCE, sender.send(Ok(chunk))).await?.is_err() {
            // The answer is there before the end; it will tell why.
            break;
        }
        meter.tell(sent);
    }
    drop(sender);
    Ok(net::within(DIGESTION, std::future::pending()).await?)
}

fn read(file: &mut File) -> io::Result<Bytes> {
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    file.take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
    Ok(chunk.into())
}
