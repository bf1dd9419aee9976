//! Container images without a container tool: files become one layer, the layer one OCI archive.
//!
//! The archive holds no time, no owner name and no order but the paths', so the same files give the same bytes and
//! the same digest on every machine. It is both an OCI layout and what `docker save` writes, and so loads with
//! `ctr images import`, `docker load`, `podman load`, `kind load image-archive` and `minikube image load`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::tar::Tar;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image to be written: its name, how it runs, and its files.
#[derive(Debug, Clone, Default)]
pub(crate) struct Archive {
    /// The name with its tag, e.g. `localhost/pgpooler:dev`.
    pub(crate) reference: String,
    /// The program and its fixed arguments.
    pub(crate) entrypoint: Vec<String>,
    /// The arguments after it that a pod's `args` replaces.
    pub(crate) cmd: Vec<String>,
    /// `uid` or `uid:gid` as numbers (Kubernetes' `runAsNonRoot` cannot judge a name); empty means root.
    pub(crate) user: String,
    /// `NAME=value` each.
    pub(crate) env: Vec<String>,
    /// Labels, as in `org.opencontainers.image.version`.
    pub(crate) labels: BTreeMap<String, String>,
    /// What the layer holds; folders above a file need not be listed.
    pub(crate) files: Vec<File>,
}

/// One entry of the layer.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// Absolute path in the image.
    pub(crate) path: String,
    /// What it is.
    pub(crate) content: Content,
    /// Permission bits, e.g. `0o755`.
    pub(crate) mode: u32,
    /// Owner and group, as numbers.
    pub(crate) owner: (u32, u32),
}

/// What an entry of the layer is.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// A file with these bytes.
    Bytes(Vec<u8>),
    /// A file copied from this path of the machine, links followed.
    Copy(PathBuf),
    /// A folder.
    Folder,
}

impl File {
    /// A file of root's, copied from `source` with its permission bits (without write for group and others).
    pub(crate) fn copy(source: impl Into<PathBuf>, path: impl Into<String>) -> Result<Self> {
        let source = source.into();
        let found = fs::metadata(&source).with_context(|| format!("cannot read {}", source.display()))?;
        let mode = found.permissions().mode() & 0o755;
        Ok(Self { path: path.into(), content: Content::Copy(source), mode, owner: (0, 0) })
    }

    /// A file of root's with these bytes.
    pub(crate) fn bytes(path: impl Into<String>, bytes: impl Into<Vec<u8>>, mode: u32) -> Self {
        Self { path: path.into(), content: Content::Bytes(bytes.into()), mode, owner: (0, 0) }
    }

    /// A folder.
    pub(crate) fn folder(path: impl Into<String>, mode: u32, owner: (u32, u32)) -> Self {
        Self { path: path.into(), content: Content::Folder, mode, owner }
    }
}

/// The shared libraries that a program loads, its loader among them, each at the path where the loader looks for it.
///
/// Asks the program's own loader (`ldd`), so it must be a program of this machine; a static one gives none.
pub(crate) fn libraries(program: &Path) -> Result<Vec<File>> {
    let listed = Command::new("ldd").arg(program).output().context("cannot run ldd")?;
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    if let Some(missing) = text.lines().find(|line| line.contains("not found")) {
        bail!("{} needs a library that is not here: {}", program.display(), missing.trim());
    }
    text.lines().filter_map(library_path).map(|path| File::copy(path, path)).collect()
}

/// The path in one line of ldd: `libc.so.6 => /lib/libc.so.6 (0x..)` or `/lib64/ld-linux.so.2 (0x..)`.
fn library_path(line: &str) -> Option<&str> {
    let right = line.split_once("=>").map_or(line, |(_, right)| right);
    right.split_whitespace().next().filter(|word| word.starts_with('/'))
}

impl Archive {
    /// Writes the archive (through a file beside it, so `path` never holds half of one) and returns the digest of
    /// its manifest, `sha256:...`.
    pub(crate) fn write(&self, path: &Path) -> Result<String> {
        let (bytes, digest) = self.render().with_context(|| format!("image {}", self.reference))?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&bytes)?;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
        file.persist(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(digest)
    }

    fn render(&self) -> Result<(Vec<u8>, String)> {
        ensure!(
            self.reference.rsplit('/').next().is_some_and(|last| last.contains(':')),
            "reference {:?} has no tag",
            self.reference
        );
        let layer = layer(&self.files)?;
        let config = self.config(&digest(&layer)).to_string().into_bytes();
        let manifest = manifest(&config, &layer).to_string().into_bytes();
        let index = index(&self.reference, &manifest).to_string().into_bytes();
        let legacy =
            json!([{"Config": blob(&config), "RepoTags": [self.reference], "Layers": [blob(&layer)]}]);

        let mut tar = Tar::default();
        tar.folder("blobs", 0o755, (0, 0))?;
        tar.folder("blobs/sha256", 0o755, (0, 0))?;
        for part in [&config, &layer, &manifest] {
            tar.file(&blob(part), part, 0o644, (0, 0))?;
        }
        tar.file("index.json", &index, 0o644, (0, 0))?;
        tar.file("manifest.json", legacy.to_string().as_bytes(), 0o644, (0, 0))?;
        tar.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644, (0, 0))?;
        Ok((tar.finish(), digest(&manifest)))
    }

    fn config(&self, layer_digest: &str) -> Value {
        json!({
            "created": "1970-01-01T00:00:00Z",
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "User": self.user,
                "Env": self.env,
                "Entrypoint": self.entrypoint,
                "Cmd": self.cmd,
                "WorkingDir": "/",
                "Labels": self.labels,
            },
            "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "cargo xtask"}],
        })
    }
}

fn manifest(config: &[u8], layer: &[u8]) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": digest(config), "size": config.len()},
        "layers": [{"mediaType": LAYER, "digest": digest(layer), "size": layer.len()}],
    })
}

fn index(reference: &str, manifest: &[u8]) -> Value {
    let tag = reference.rsplit_once(':').map_or("", |(_, tag)| tag);
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": MANIFEST,
            "digest": digest(manifest),
            "size": manifest.len(),
            "platform": {"architecture": architecture(), "os": "linux"},
            "annotations": {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": tag},
        }],
    })
}

/// The layer: every file once (a later one of the same path wins), in the order of their paths, under its folders.
fn layer(files: &[File]) -> Result<Vec<u8>> {
    let mut entries: BTreeMap<String, &File> = BTreeMap::new();
    for file in files {
        let relative = file.path.trim_matches('/');
        ensure!(file.path.starts_with('/'), "{:?} is not an absolute path", file.path);
        ensure!(!relative.split('/').any(|part| part == ".."), "{:?} leaves the image", file.path);
        entries.insert(relative.to_owned(), file);
    }
    let mut tar = Tar::default();
    let mut folders: BTreeSet<String> = BTreeSet::new();
    for (path, file) in &entries {
        for parent in parents(path) {
            if !entries.contains_key(parent) && folders.insert(parent.to_owned()) {
                tar.folder(parent, 0o755, (0, 0))?;
            }
        }
        match &file.content {
            Content::Folder => tar.folder(path, file.mode, file.owner)?,
            Content::Bytes(bytes) => tar.file(path, bytes, file.mode, file.owner)?,
            Content::Copy(source) => {
                let bytes = fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
                tar.file(path, &bytes, file.mode, file.owner)?;
            }
        }
    }
    Ok(tar.finish())
}

/// The folders above a path, outermost first: `a/b/c` gives `a`, `a/b`.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

fn blob(bytes: &[u8]) -> String {
    format!("blobs/{}", digest(bytes).replace(':', "/"))
}

fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold(String::from("sha256:"), |mut text, byte| {
        // writing to a String cannot fail
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The machine's architecture, in the words of OCI.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Archive {
        Archive {
            reference: "localhost/example:1".into(),
            entrypoint: vec!["/bin/example".into()],
            user: "65532:65532".into(),
            files: vec![
                File::bytes("/bin/also", "", 0o644),
                File::bytes("/bin/example", "#!", 0o755),
                File::folder("/data", 0o700, (65532, 65532)),
            ],
            ..Archive::default()
        }
    }

    #[test]
    fn the_same_files_in_another_order_give_the_same_bytes() {
        let mut reversed = example();
        reversed.files.reverse();
        assert_eq!(example().render().unwrap(), reversed.render().unwrap());
    }

    #[test]
    fn folders_above_a_file_come_before_it_and_once() {
        let layer = layer(&example().files).unwrap();
        let names: Vec<String> = layer
            .chunks(512)
            .filter(|block| &block[257..262] == b"ustar")
            .map(|block| String::from_utf8_lossy(&block[..100]).trim_end_matches('\0').to_owned())
            .collect();
        assert_eq!(names, ["bin/", "bin/also", "bin/example", "data/"]);
    }

    #[test]
    fn a_path_that_leaves_the_image_is_refused() {
        assert!(layer(&[File::bytes("/a/../../etc/passwd", "", 0o644)]).is_err());
        assert!(layer(&[File::bytes("relative", "", 0o644)]).is_err());
    }

    #[test]
    fn a_reference_without_a_tag_is_refused() {
        let image = Archive { reference: "localhost:5000/example".into(), ..example() };
        assert!(image.render().is_err());
    }

    #[test]
    fn both_kinds_of_ldd_lines_give_their_path() {
        assert_eq!(library_path("\tlibc.so.6 => /lib/libc.so.6 (0x00007f)"), Some("/lib/libc.so.6"));
        assert_eq!(
            library_path("\t/lib64/ld-linux-x86-64.so.2 (0x00007f)"),
            Some("/lib64/ld-linux-x86-64.so.2")
        );
        assert_eq!(library_path("\tlinux-vdso.so.1 (0x00007f)"), None);
        assert_eq!(library_path("\tstatically linked"), None);
    }
}
