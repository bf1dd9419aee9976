//! `cargo xtask image`: the one image of pgpooler, without a container builder or a registry.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};
use sha2::{Digest as _, Sha256};

use crate::{
    cluster::oci::{self, Archive, File},
    command, workspace,
};

/// The user that the programs run as, as in the distroless images.
const NONROOT: u32 = 65_532;
const PROGRAMS: [&str; 2] = ["pgpooler", "pgpooler-operator"];

/// Arguments of `cargo xtask image`.
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    /// Where the OCI archive goes.
    #[arg(long, default_value = "dist/pgpooler.oci.tar")]
    output: PathBuf,
    /// How the programs are compiled.
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
    /// A folder with ready-made programs, instead of compiling them.
    #[arg(long)]
    programs: Option<PathBuf>,
    /// The image's name; the tag is the version unless given.
    #[arg(long, default_value = "localhost/pgpooler")]
    name: String,
}

/// A cargo profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// What users get: whole-program optimisation.
    Release,
    /// Optimised, and compiled in a fraction of the time.
    Demo,
    /// Not optimised.
    Dev,
}

/// An image on disk.
#[derive(Debug)]
pub(crate) struct Image {
    /// The archive.
    pub(crate) archive: PathBuf,
    /// The image's name before the tag.
    pub(crate) name: String,
    /// The tag.
    pub(crate) tag: String,
}

/// The programs of the image, compiled.
#[derive(Debug)]
pub(crate) struct Built {
    /// Path by name.
    pub(crate) programs: BTreeMap<String, PathBuf>,
}

/// Compiles the programs, writes the archive and says what it holds.
pub(crate) fn run(arguments: &ImageArgs) -> Result<()> {
    let built = obtain(arguments.profile, arguments.programs.as_deref())?;
    let name = &arguments.name;
    let (name, tag) = match name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) {
        Some((name, tag)) => (name.to_owned(), tag.to_owned()),
        None => (name.clone(), workspace::version().to_owned()),
    };
    let image = Image { archive: workspace::root().join(&arguments.output), name, tag };
    let digest = image.write(&built)?;
    let size = fs::metadata(&image.archive)?.len() / 1_048_576;
    println!("{}:{} ({digest}, {size} MiB)", image.name, image.tag);
    println!("written to {}", image.archive.display());
    Ok(())
}

/// Writes the image of these programs into `folder`, tagged by their content, so that a changed program is
/// a changed image; an archive that is already there is kept.
pub(crate) fn write_tagged_by_content(built: &Built, folder: &Path) -> Result<Image> {
    let mut hash = Sha256::new();
    for path in built.programs.values() {
        hash.update(fs::read(path)?);
    }
    let [a, b, c, d, ..] = <[u8; 32]>::from(hash.finalize());
    let tag = format!("{:08x}", u32::from_be_bytes([a, b, c, d]));
    let archive = folder.join(format!("pgpooler-{tag}.oci.tar"));
    let image = Image { archive, name: "localhost/pgpooler".to_owned(), tag };
    if !image.archive.exists() {
        image.write(built)?;
    }
    Ok(image)
}

/// Both programs: from this folder, or compiled.
pub(crate) fn obtain(profile: Profile, ready_made: Option<&Path>) -> Result<Built> {
    let Some(folder) = ready_made else { return build(profile) };
    let programs: BTreeMap<_, _> = PROGRAMS.map(|name| (name.to_owned(), folder.join(name))).into();
    for path in programs.values() {
        ensure!(path.is_file(), "there is no {}", path.display());
    }
    Ok(Built { programs })
}

fn build(profile: Profile) -> Result<Built> {
    let mut command =
        command::cargo(&["build", "--locked", "--bins", "--message-format=json-render-diagnostics"]);
    command.args(["--profile", profile.name()]);
    for package in PROGRAMS {
        command.args(["--package", package]);
    }
    let programs = command::executables(&mut command)?;
    for name in PROGRAMS {
        ensure!(programs.contains_key(name), "cargo built no program named {name}");
    }
    Ok(Built { programs })
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Demo => "demo",
            Self::Dev => "dev",
        }
    }
}

impl Image {
    /// Writes the archive; its digest.
    fn write(&self, built: &Built) -> Result<String> {
        Archive {
            reference: format!("{}:{}", self.name, self.tag),
            entrypoint: Vec::new(),
            cmd: vec!["/usr/bin/pgpooler".to_owned(), "--help".to_owned()],
            user: format!("{NONROOT}:{NONROOT}"),
            env: vec!["PATH=/usr/bin".to_owned()],
            labels: Self::labels(),
            files: files(built)?,
        }
        .write(&self.archive)
    }

    fn labels() -> BTreeMap<String, String> {
        [
            ("title", "pgpooler"),
            ("description", "Kubernetes operator and PostgreSQL transaction pooler"),
            ("version", workspace::version()),
            ("licenses", "Apache-2.0"),
            ("source", env!("CARGO_PKG_REPOSITORY")),
        ]
        .map(|(name, value)| (format!("org.opencontainers.image.{name}"), value.to_owned()))
        .into()
    }
}

fn files(built: &Built) -> Result<Vec<File>> {
    let passwd =
        format!("root:x:0:0:root:/:/usr/bin/false\nnonroot:x:{NONROOT}:{NONROOT}:nonroot:/:/usr/bin/false\n");
    let group = format!("root:x:0:\nnonroot:x:{NONROOT}:\n");
    let mut files = vec![
        File::bytes("/etc/passwd", passwd, 0o644),
        File::bytes("/etc/group", group, 0o644),
        File::bytes("/etc/nsswitch.conf", "hosts: files dns\n", 0o644),
        File::copy(workspace::root().join("LICENSE"), "/usr/share/doc/pgpooler/LICENSE")?,
    ];
    for name in PROGRAMS {
        let source = built.programs.get(name).with_context(|| format!("{name} was not built"))?;
        files.push(File::copy(source, format!("/usr/bin/{name}"))?);
        let libraries = oci::libraries(source)?;
        ensure!(
            !libraries.is_empty(),
            "{name} is linked statically, and a static glibc crashes when it resolves names"
        );
        files.extend(libraries);
    }
    Ok(files)
}
