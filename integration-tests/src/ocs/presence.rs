//! Presence as the pool keeps and shows it: the categories that clients publish, their aggregate, and the three documents of it.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Dialect;
use super::message::split;
use super::xml::{Element, escaped};

/// Which document a watcher gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Categories,
    MsrtcPidf,
    Pidf,
}

impl Format {
    /// The first one, in the server's own order, that the watcher accepts. Servers of 2005 have no categories.
    pub(super) fn accepted(accept: &str, dialect: Dialect) -> Option<Self> {
        let types: Vec<&str> = split(accept, ',').into_iter().map(|one| split(one, ';')[0]).collect();
        let own = [Self::Categories, Self::MsrtcPidf, Self::Pidf];
        let own = if dialect == Dialect::Lcs2005 { &own[1..] } else { &own[..] };
        own.iter().find(|format| types.contains(&format.content_type())).copied()
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Categories => "application/msrtc-event-categories+xml",
            Self::MsrtcPidf => "text/xml+msrtc.pidf",
            Self::Pidf => "application/pidf+xml",
        }
    }
}

/// What watchers of somebody see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// The number of `[MS-PRES]`: 3500 available, 18500 offline, and so on.
    pub availability: u32,
    /// The token of the activity; usually empty.
    pub activity: String,
    /// The personal note.
    pub note: String,
}

impl Presence {
    pub(super) fn offline() -> Self {
        Self { availability: 18500, activity: String::new(), note: String::new() }
    }

    /// The document for watchers of `address`.
    pub(super) fn document(&self, format: Format, address: &str) -> String {
        let name = display_name(address);
        match format {
            Format::Categories => self.categories(address, &name),
            Format::MsrtcPidf => format!(
                "<presentity uri=\"{address}\" xmlns=\"http://schemas.microsoft.com/2002/09/sip/presence\">\
                 <availability aggregate=\"{}\" description=\"\" epid=\"0123456789\"/>\
                 <activity aggregate=\"{}\" description=\"\" note=\"\"/>\
                 <displayName displayName=\"{name}\"/><email email=\"{address}\"/>\
                 <userInfo xmlns=\"\"><note>{}</note></userInfo></presentity>",
                if self.is_offline() { 0 } else { 300 },
                self.activity_number(),
                escaped(&self.note),
            ),
            Format::Pidf => {
                let basic = if self.is_offline() { "closed" } else { "open" };
                let activity = match self.availability {
                    6000..12000 => "<es:activities><es:activity>busy</es:activity></es:activities>",
                    4500..6000 | 12000..18000 => "<es:activities><es:activity>away</es:activity></es:activities>",
                    _ => "",
                };
                format!(
                    "<?xml version=\"1.0\" encoding=\"utf-8\"?><presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
                     xmlns:es=\"urn:ietf:params:xml:ns:pidf:status:rpid-status\" entity=\"sip:{address}\"><tuple id=\"0\">\
                     <status><basic>{basic}</basic>{activity}</status></tuple></presence>"
                )
            }
        }
    }

    fn categories(&self, address: &str, name: &str) -> String {
        let at = now();
        let activity =
            if self.activity.is_empty() { String::new() } else { format!("<activity token=\"{}\"/>", escaped(&self.activity)) };
        let note = if self.note.is_empty() {
            String::new()
        } else {
            format!("<body type=\"personal\" uri=\"\">{}</body>", escaped(&self.note))
        };
        format!(
            "<categories xmlns=\"http://schemas.microsoft.com/2006/09/sip/categories\" uri=\"sip:{address}\">\
             <category name=\"contactCard\" instance=\"0\" publishTime=\"{at}\">\
             <contactCard xmlns=\"http://schemas.microsoft.com/2006/09/sip/contactcard\"><identity><name>\
             <displayName>{name}</displayName></name><email>{address}</email></identity></contactCard></category>\
             <category name=\"note\" instance=\"0\" publishTime=\"{at}\">\
             <note xmlns=\"http://schemas.microsoft.com/2006/09/sip/note\">{note}</note></category>\
             <category name=\"state\" instance=\"1\" publishTime=\"{at}\">{}</category></categories>",
            aggregate(self.availability, &activity),
        )
    }

    fn is_offline(&self) -> bool {
        self.availability >= 18000
    }

    /// The number of the older dialect.
    fn activity_number(&self) -> u32 {
        match self.availability {
            3000..4500 => 400,
            4500..6000 => 200,
            6000..9000 if self.activity == "on-the-phone" => 500,
            6000..12000 => 600,
            12000..15000 => 300,
            15000..18000 => 100,
            _ => 0,
        }
    }
}

fn aggregate(availability: u32, activity: &str) -> String {
    format!(
        "<state xmlns=\"http://schemas.microsoft.com/2006/09/sip/state\" manual=\"false\" \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"aggregateState\">\
         <availability>{availability}</availability>{activity}</state>"
    )
}

pub(super) fn now() -> String {
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    now.format(&Rfc3339).unwrap_or_default()
}

/// `alice@contoso.example` is called Alice.
pub(super) fn display_name(address: &str) -> String {
    let user = address.split('@').next().unwrap_or_default();
    let mut letters = user.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Whom a person shows what: levels of access, with their usual members.
const CONTAINERS: &str = "<container id=\"0\" version=\"1\"/><container id=\"1\" version=\"1\"/><container id=\"2\" version=\"1\"/>\
    <container id=\"3\" version=\"1\"/><container id=\"100\" version=\"1\"><member type=\"federated\"/></container>\
    <container id=\"200\" version=\"1\"><member type=\"sameEnterprise\"/></container><container id=\"300\" version=\"1\"/>\
    <container id=\"400\" version=\"1\"/><container id=\"32000\" version=\"1\"/>";

/// Name, instance and container of what is published.
type Key = (String, String, String);

#[derive(Clone, Debug)]
struct Publication {
    version: u32,
    expires_with: String,
    inner: String,
}

/// What the clients of one person have published.
#[derive(Clone, Debug, Default)]
pub(super) struct Publications {
    categories: BTreeMap<Key, Publication>,
    /// What a client of the older dialect has set: availability and activity.
    set: Option<(u32, u32)>,
    note: String,
    /// What is shown in the place of all that.
    pub(super) instead: Option<Presence>,
}

impl Publications {
    /// Takes a `publish` document. An error is a version that is not the present one.
    pub(super) fn publish(&mut self, document: &Element) -> Result<(), String> {
        let mut publications = Vec::new();
        document.all("publication", &mut publications);
        for publication in publications {
            let key = ["categoryName", "instance", "container"].map(|attribute| publication.attribute(attribute).to_owned());
            let key: Key = key.into();
            let present = self.categories.get(&key).map_or(0, |present| present.version);
            let version: u32 = publication.attribute("version").parse().unwrap_or(0);
            if version != present {
                return Err(format!("{key:?} has version {present}, not {version}"));
            }
            if publication.attribute("expires") == "0" {
                self.categories.remove(&key);
                continue;
            }
            let expires_with = publication.attribute("expireType").to_owned();
            self.categories.insert(key, Publication { version: version + 1, expires_with, inner: publication.inner.clone() });
        }
        Ok(())
    }

    /// Takes a `setPresence` document of the older dialect.
    pub(super) fn set(&mut self, document: &Element) {
        let number = |name: &str| {
            let element = document.find(name)?;
            element.attribute("aggregate").parse().ok()
        };
        self.set = number("availability").zip(number("activity"));
        self.note = document.find("note").map(|note| note.text.clone()).unwrap_or_default();
    }

    /// Nobody is signed on any more: what was bound to the client goes.
    pub(super) fn signed_off(&mut self) {
        self.categories.retain(|_, publication| publication.expires_with == "static");
        self.set = None;
    }

    /// What watchers see while somebody is signed on.
    pub(super) fn presence(&self) -> Presence {
        if let Some(presence) = &self.instead {
            return presence.clone();
        }
        if let Some((availability, activity)) = self.set {
            let (availability, token) = match activity {
                _ if availability < 100 => (18500, ""),
                300..400 => (12500, ""),
                500..600 => (6500, "on-the-phone"),
                600..700 => (6500, ""),
                200..300 => (5000, ""),
                400..500 | 800.. => (3500, ""),
                _ => (15500, ""),
            };
            return Presence { availability, activity: token.to_owned(), note: self.note.clone() };
        }
        let states: Vec<Element> = self.named("state").filter_map(|inner| Element::parse(inner).ok()).collect();
        // What the person has chosen, else what the machine has seen.
        let state =
            ["userState", "machineState"].iter().find_map(|kind| states.iter().find(|state| state.attribute("type") == *kind));
        let availability = state.and_then(|state| state.child("availability")?.text.trim().parse().ok()).unwrap_or(18500);
        let activity = state.and_then(|state| state.child("activity")).map(|activity| activity.attribute("token").to_owned());
        let notes = self.named("note").filter_map(|inner| Element::parse(inner).ok());
        let note = notes.filter_map(|note| note.child("body").map(|body| body.text.clone())).find(|text| !text.is_empty());
        Presence { availability, activity: activity.unwrap_or_default(), note: note.unwrap_or_default() }
    }

    fn named(&self, name: &str) -> impl Iterator<Item = &str> {
        self.categories
            .iter()
            .filter(move |((category, ..), _)| category == name)
            .map(|(_, publication)| publication.inner.as_str())
    }

    /// The document that shows a person what is published of him.
    pub(super) fn roaming_self(&self, address: &str) -> String {
        let at = now();
        let mut categories = String::new();
        for ((name, instance, container), publication) in &self.categories {
            categories.push_str(&format!(
                "<category name=\"{name}\" instance=\"{instance}\" publishTime=\"{at}\" container=\"{container}\" version=\"{}\" \
                 expireType=\"{}\">{}</category>",
                publication.version, publication.expires_with, publication.inner
            ));
        }
        let own = aggregate(self.presence().availability, "");
        categories.push_str(&format!(
            "<category name=\"state\" instance=\"1\" publishTime=\"{at}\" container=\"2\" version=\"1\" expireType=\"user\">{own}</category>"
        ));
        format!(
            "<roamingData xmlns=\"http://schemas.microsoft.com/2006/09/sip/roaming-self\">\
             <categories xmlns=\"http://schemas.microsoft.com/2006/09/sip/categories\" uri=\"sip:{address}\">{categories}</categories>\
             <containers xmlns=\"http://schemas.microsoft.com/2006/09/sip/container-management\">{CONTAINERS}</containers>\
             <subscribers xmlns=\"http://schemas.microsoft.com/2006/09/sip/presence-subscribers\"></subscribers></roamingData>"
        )
    }
}
