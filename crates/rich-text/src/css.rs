//! What a `style` attribute says of weight, slant, decoration and colour (CSS 2.1). All else in it is passed over.

use interchange_model::{Colour, Hyperlink, Style};

/// What one element changes for the words in it; `None`: nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Effect {
    pub(crate) bold: Option<bool>,
    pub(crate) italic: Option<bool>,
    pub(crate) underline: Option<bool>,
    pub(crate) strike: Option<bool>,
    pub(crate) monospace: bool,
    pub(crate) colour: Option<Colour>,
    pub(crate) link: Option<Hyperlink>,
}

impl Effect {
    /// Changes a style.
    pub(crate) fn apply(&self, style: &mut Style) {
        style.bold = self.bold.unwrap_or(style.bold);
        style.italic = self.italic.unwrap_or(style.italic);
        style.underline = self.underline.unwrap_or(style.underline);
        style.strike = self.strike.unwrap_or(style.strike);
        style.monospace |= self.monospace;
        style.colour = self.colour.or(style.colour);
        if self.link.is_some() {
            style.link.clone_from(&self.link);
        }
    }

    /// Adds what a `style` attribute says.
    pub(crate) fn add_declarations(&mut self, declarations: &str) {
        for declaration in declarations.split(';') {
            let Some((name, value)) = declaration.split_once(':') else { continue };
            let value = value.trim().to_ascii_lowercase();
            let value = value.strip_suffix("!important").map_or(value.as_str(), str::trim_end);
            match name.trim().to_ascii_lowercase().as_str() {
                "font-weight" => self.bold = weight(value).or(self.bold),
                "font-style" => match value {
                    "italic" | "oblique" => self.italic = Some(true),
                    "normal" => self.italic = Some(false),
                    _ => {}
                },
                "text-decoration" => {
                    let has = |word: &str| value.split_ascii_whitespace().any(|found| found == word);
                    let none = has("none");
                    self.underline = if has("underline") { Some(true) } else { none.then_some(false).or(self.underline) };
                    self.strike = if has("line-through") { Some(true) } else { none.then_some(false).or(self.strike) };
                }
                "color" => self.colour = colour(value).or(self.colour),
                _ => {}
            }
        }
    }
}

fn weight(value: &str) -> Option<bool> {
    match value {
        "bold" | "bolder" => Some(true),
        "normal" | "lighter" => Some(false),
        number => number.parse::<u16>().ok().map(|number| number >= 600),
    }
}

/// A colour as CSS and `<font>` write it.
pub(crate) fn colour(value: &str) -> Option<Colour> {
    let value = value.trim().to_ascii_lowercase();
    if let Some(digits) = value.strip_prefix('#') {
        if digits.len() == 3 {
            let doubled: String = digits.chars().flat_map(|digit| [digit, digit]).collect();
            return Colour::parse(&format!("#{doubled}"));
        }
        return Colour::parse(&value);
    }
    if let Some(parts) = value.strip_prefix("rgb(").and_then(|rest| rest.strip_suffix(')')) {
        let mut parts = parts.split(',').map(|part| part.trim().parse::<u16>().ok().map(|part| part.min(255) as u8));
        let (red, green, blue) = (parts.next()??, parts.next()??, parts.next()??);
        return parts.next().is_none().then_some(Colour([red, green, blue]));
    }
    match NAMED.iter().find(|(name, _)| *name == value) {
        Some((_, colour)) => Some(Colour(*colour)),
        // Old mail writes <font color=ff0000>.
        None => Colour::parse(&format!("#{value}")),
    }
}

/// CSS 2.1 §4.3.6, and grey as others spell it.
const NAMED: [(&str, [u8; 3]); 18] = [
    ("maroon", [128, 0, 0]),
    ("red", [255, 0, 0]),
    ("orange", [255, 165, 0]),
    ("yellow", [255, 255, 0]),
    ("olive", [128, 128, 0]),
    ("purple", [128, 0, 128]),
    ("fuchsia", [255, 0, 255]),
    ("white", [255, 255, 255]),
    ("lime", [0, 255, 0]),
    ("green", [0, 128, 0]),
    ("navy", [0, 0, 128]),
    ("blue", [0, 0, 255]),
    ("aqua", [0, 255, 255]),
    ("teal", [0, 128, 128]),
    ("black", [0, 0, 0]),
    ("silver", [192, 192, 192]),
    ("gray", [128, 128, 128]),
    ("grey", [128, 128, 128]),
];
