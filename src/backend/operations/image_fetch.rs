//! `image_fetch`: an image from its publisher, downloaded and verified.

use serde::{Deserialize, Serialize};

use crate::backend::engine::journal::Stop;
use crate::backend::ports::{Checksum, PortFuture, Ports};
use crate::backend::settings::{OsImage, Settings};
use crate::domain::{
    Choice, Effect, Field, FieldType, Hint, Image, OperationSpec, Outcome, Preview, Reason,
    Refusal, Resource, Risk,
};

use super::images::{self, Undone};
use super::{AdmissionContext, Context, Kind, guests};

/// How often a download is taken up again before a person is asked.
const RETRIES: u32 = 6;
/// Hexadecimal digits of a SHA-256.
const SHA256_DIGITS: usize = 64;

/// The kind.
pub struct ImageFetch;

/// Its parameters.
#[derive(Serialize, Deserialize)]
pub struct Parameters {
    os: Option<String>,
    name: Option<String>,
    url: Option<String>,
    sha256: Option<String>,
    checksum_url: Option<String>,
    login: Option<String>,
    #[serde(default = "usual_gib")]
    max_gib: u64,
}

/// The biggest image anybody publishes is far smaller, in GiB.
const fn usual_gib() -> u64 {
    32
}

impl Parameters {
    fn os<'a>(&self, settings: &'a Settings) -> Option<&'a OsImage> {
        settings.os.iter().find(|os| Some(&os.name) == self.os.as_ref())
    }

    /// The name given, or the operating system's, or the file's without its ending.
    fn name(&self) -> Option<&str> {
        let file = self.url.as_deref().and_then(|url| url.rsplit('/').next());
        let stem = file.and_then(|file| file.rsplit_once('.')).map(|(stem, _)| stem);
        self.name.as_deref().or(self.os.as_deref()).or(stem)
    }

    fn source<'a>(&'a self, settings: &'a Settings) -> Option<(&'a str, Checksum)> {
        if let Some(os) = self.os(settings) {
            return Some((&os.url, Checksum::List { url: os.checksum_url.clone() }));
        }
        let checksum = match (&self.sha256, &self.checksum_url) {
            (Some(sha256), _) => Checksum::Sha256(sha256.to_lowercase()),
            (None, Some(url)) => Checksum::List { url: url.clone() },
            (None, None) => Checksum::Unchecked,
        };
        Some((self.url.as_deref()?, checksum))
    }
}

impl Kind for ImageFetch {
    type Params = Parameters;

    fn spec(settings: &Settings) -> OperationSpec {
        let choices = settings
            .os
            .iter()
            .map(|os| Choice { value: os.name.clone().into(), label: os.label.clone().into() })
            .collect();
        let nothing = serde_json::Value::Null;
        OperationSpec {
            kind: "image_fetch".into(),
            title: "Fetch".into(),
            doc:
                "Downloads the image of an operating system from its publisher and verifies it. A \
                  download that was broken off goes on where it stopped."
                    .into(),
            doing: "being fetched".into(),
            resource: Some(Image::KIND),
            effect: Effect::Creates,
            subject: None,
            lane: "image".into(),
            risk: Risk::None,
            warning: "".into(),
            fields: vec![
                Field::optional(
                    "os",
                    FieldType::Choice { choices },
                    nothing.clone(),
                    "The operating system; its publisher's own image is fetched.",
                ),
                Field::optional(
                    "name",
                    FieldType::Name,
                    nothing.clone(),
                    "The image's name; the operating system's or the file's when left out.",
                ),
                Field::optional(
                    "url",
                    FieldType::Url,
                    nothing.clone(),
                    "Where any other disk image is. Without a user name and password, which would \
                     stay in the history; fetch what needs them by other means, then image_import.",
                )
                .advanced(),
                Field::optional(
                    "sha256",
                    FieldType::Text { max: 64 },
                    nothing.clone(),
                    "The SHA-256 of the image at that URL, in hexadecimal.",
                )
                .advanced(),
                Field::optional(
                    "checksum_url",
                    FieldType::Url,
                    nothing.clone(),
                    "Where a list of checksums names the image at that URL.",
                )
                .advanced(),
                Field::optional(
                    "login",
                    FieldType::Name,
                    nothing,
                    "The user account VMs get when none is named; the operating system's own, or \
                     root, when left out.",
                )
                .advanced(),
                Field::optional(
                    "max_gib",
                    FieldType::Integer { min: 1, max: 16_384, unit: "GiB".into() },
                    usual_gib(),
                    "How much is downloaded at most.",
                )
                .advanced(),
            ],
            offered_on: Vec::new(),
            edits: false,
            hint: Hint::new("fetch", &["f"], 11).first("fetch an OS image from its distribution"),
            locks: vec![],
            requires: vec![],
            state_after: Some("ready".into()),
            reject_duplicates: false,
            steps: vec!["fetch".into()],
        }
    }

    fn admit(params: &Parameters, world: &AdmissionContext<'_>) -> Result<(), Refusal> {
        let needed = |field: &str, message: &str| {
            Err(Refusal {
                reason: Reason::Type,
                field: Some(field.to_owned()),
                value: None,
                message: message.to_owned(),
            })
        };
        if params.os.is_none() && params.url.is_none() {
            return needed("os", "os is needed, or the url of another image");
        }
        let name = params.name().unwrap_or_default();
        let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(inside) {
            return needed("name", "name is needed: the url tells none");
        }
        if let Some(sha256) = &params.sha256
            && (sha256.len() != SHA256_DIGITS || !sha256.chars().all(|c| c.is_ascii_hexdigit()))
        {
            return Err(Refusal::field(
                Reason::Syntax,
                "sha256",
                sha256,
                format!("sha256 must be {SHA256_DIGITS} hexadecimal digits"),
            ));
        }
        if let (Some(_), Some(url)) = (&params.os, &params.url) {
            return Err(Refusal::field(
                Reason::Value,
                "url",
                url,
                "url: os names an image already; give one of the two",
            ));
        }
        guests::free_name(world, "name", Image::KIND, name)
    }

    fn reserve(params: &Parameters, id: u64, world: &AdmissionContext<'_>) -> Option<Resource> {
        let name = params.name()?.to_owned();
        let os = params.os(world.settings);
        let label = os.map_or_else(|| name.clone(), |os| os.label.clone());
        let (url, _) = params.source(world.settings)?;
        let login = params.login.clone().or_else(|| os.map(|os| os.login.clone()));
        let login = login.unwrap_or_else(|| "root".to_owned());
        Some(images::reserved(id, name, label, url.to_owned(), login, world))
    }

    fn remove_leftovers<'a>(
        ports: &'a Ports,
        settings: &'a Settings,
        id: u64,
    ) -> PortFuture<'a, ()> {
        Box::pin(images::remove_leftovers(ports, settings, id))
    }

    fn preview(params: &Parameters, world: &AdmissionContext<'_>) -> Preview {
        let Some((url, checksum)) = params.source(world.settings) else {
            return Preview::default();
        };
        let verified = match checksum {
            Checksum::List { url } => format!("It is compared with the checksums at {url}."),
            Checksum::Sha256(_) => "It is compared with the checksum given.".to_owned(),
            Checksum::Unchecked => {
                "Nothing is given to compare it with: it is taken as it comes.".to_owned()
            }
        };
        Preview { effects: vec![format!("{url} is downloaded."), verified], ..Preview::default() }
    }

    async fn run(cx: Context, params: Parameters) -> Result<Outcome, Stop> {
        let (url, checksum) = params.source(cx.settings()).ok_or_else(|| {
            let os = params.os.as_deref().unwrap_or_default();
            crate::domain::Failure::new(format!(
                "'{os}' is not among the operating systems any more; relaunch with another"
            ))
        })?;
        let max_bytes = params.max_gib << 30;
        let (step, checksum) = (cx.step("fetch").label("downloading").retry(RETRIES), &checksum);
        // A failed download is gone on with by a relaunch.
        images::make(&cx, step, Undone::Kept, |step, dir| async move {
            let report = |meter| step.report(meter);
            let images = &step.cx().ports().images;
            images.fetch(&dir, url, checksum, max_bytes, &report, step.log()).await
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::backend::testing::harness::{FaultMatrix, Harness};
    use crate::domain::{BackendError, Control, ImageState, Params, ResourceId, State};

    const URL: &str = "https://images.example/other.qcow2";

    #[tokio::test]
    async fn it_survives_faults() {
        let tested = FaultMatrix {
            kind: "image_fetch",
            params: json!({ "os": "debian-12" }),
            setup: |_| Box::pin(async {}),
            undoes: true,
        };
        tested.survives_faults().await;
    }

    #[tokio::test]
    async fn the_operating_system_tells_everything() {
        let mut harness = Harness::open();
        let image = harness.done("image_fetch", json!({ "os": "debian-12" })).await;
        let image = harness.image(image).await;
        assert_eq!((image.name.as_str(), image.login.as_str()), ("debian-12", "debian"));
        assert_eq!(
            (image.label.as_str(), image.state),
            ("Debian 12 (bookworm)", ImageState::Ready)
        );
        assert!(image.form.is_some() && image.sha256.is_some() && image.bytes > 0);
        assert!(harness.fake.calls()[0].contains("List"));
    }

    #[tokio::test]
    async fn any_other_image_is_fetched_by_its_url() {
        let mut harness = Harness::open();
        let image = harness.done("image_fetch", json!({ "url": URL })).await;
        let image = harness.image(image).await;
        assert_eq!((image.name.as_str(), image.login.as_str()), ("other", "root"));
        assert!(harness.fake.calls()[0].ends_with("Unchecked"));
    }

    #[tokio::test]
    async fn a_failed_download_is_kept_for_its_relaunch() {
        let mut harness = Harness::open();
        harness.fake.trouble(0, crate::backend::testing::fake::CallFault::After);
        harness.fails("image_fetch", json!({ "os": "debian-12" })).await;
        assert!(harness.dir().join("images/1/disk.qcow2").exists());
    }

    /// Also where it is called off before it has done anything, so that it has nothing to undo.
    #[tokio::test]
    async fn a_relaunch_that_is_called_off_keeps_nothing() {
        let mut harness = Harness::open();
        harness.fake.trouble(0, crate::backend::testing::fake::CallFault::After);
        let (uid, _) = harness.fails("image_fetch", json!({ "os": "debian-12" })).await;
        let lease = harness.backend.engine.lease(ResourceId::new(Image::KIND, 1)).unwrap();
        harness.control(Control::Relaunch { uid, params: Params::new() }).await;
        harness.reaches(uid, &[State::Run]).await;
        harness.control(Control::Cancel { uid }).await;
        drop(lease);
        assert_eq!(harness.ends(uid).await.state, State::Cancel);
        assert!(!harness.dir().join("images/1").exists());
    }

    #[tokio::test]
    async fn a_password_in_a_url_is_refused_and_repeated_nowhere() {
        let mut harness = Harness::open();
        for (field, url) in [
            ("url", "https://me:s3cret@images.example/a.qcow2"),
            ("url", "https://s3cret@images.example/a.qcow2"),
            ("url", "https:///me:s3cret@images.example/a.qcow2"),
            ("url", "ftp://me:s3cret@images.example/a.qcow2"),
            ("url", "https://me:s3cret\u{7}@images.example/a.qcow2"),
            ("checksum_url", "http://me:s3cret@images.example"),
        ] {
            let mut given = json!({ "url": URL });
            given[field] = url.into();
            let asked = harness.submit("image_fetch", given.clone()).await;
            let Err(BackendError::Refused(refusal)) = asked else { panic!("{url}: {asked:?}") };
            assert_eq!(refusal.field.as_deref(), Some(field), "{refusal}");
            assert!(!format!("{refusal:?}").contains("s3cret"), "{refusal:?}");
            let task = json!({ "kind": "image_fetch", "params": given, "month": "*" });
            let asked = harness.submit("task_create", task).await;
            assert!(!format!("{asked:?}").contains("s3cret"), "{asked:?}");
        }
        let at = json!({ "url": "https://images.example/@me/a.qcow2" });
        harness.done("image_fetch", at).await;
    }

    #[tokio::test]
    async fn what_cannot_work_is_refused_with_field_and_reason() {
        let mut harness = Harness::open();
        harness.done("image_fetch", json!({ "os": "debian-12" })).await;
        for (given, reason, field) in [
            (json!({}), Reason::Type, "os"),
            (json!({ "os": "debian-12" }), Reason::Existence, "name"),
            (json!({ "os": "plan-9" }), Reason::Value, "os"),
            (json!({ "os": "debian-12", "url": URL }), Reason::Value, "url"),
            (json!({ "url": "file:///etc/passwd" }), Reason::Syntax, "url"),
            (json!({ "url": "https://images.example/" }), Reason::Type, "name"),
            (json!({ "url": URL, "sha256": "12" }), Reason::Syntax, "sha256"),
            (json!({ "url": URL, "max_gib": 0 }), Reason::Value, "max_gib"),
        ] {
            let (found, at, refusal) = harness.refused("image_fetch", given).await;
            assert_eq!((found, at.as_str()), (reason, field), "{refusal}");
        }
    }
}
