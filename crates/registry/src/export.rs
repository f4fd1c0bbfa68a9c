//! The same facts in other forms: a JSON Schema of the parameters, what an advertisement says of them
//! (NIP-89), and the whole catalogue as one object.

use serde_json::{Map, Value, json};

use crate::{Category, ItemType, KindSchema, ParamSpec, ParamType, UPDATED, VERSION, all, common};

impl KindSchema {
    /// The parameters as an advertisement names them (kind 31990, `nip90Params`): name, whether it is
    /// required, the values it may have (empty for any), and what it does.
    pub fn nip90_params(&self) -> Value {
        let row = |spec: &ParamSpec| {
            let entry = json!({
                "required": spec.required, "values": spec.words(), "description": spec.about,
            });
            (spec.name.clone(), entry)
        };
        Value::Object(self.params.iter().map(row).collect())
    }

    /// The parameters as a JSON Schema (2020-12) of an object with one property each.
    pub fn params_schema(&self) -> Value {
        let properties: Map<String, Value> =
            self.params.iter().map(|spec| (spec.name.clone(), spec.json_schema())).collect();
        let required: Vec<&str> = self.required_params().collect();
        json!({ "type": "object", "properties": properties, "required": required })
    }

    /// The whole entry, with the forms above and the number of the result.
    pub fn to_json(&self) -> Value {
        let mut entry = serde_json::to_value(self).unwrap_or_default();
        entry["result_kind"] = self.kind.result().into();
        entry["params_schema"] = self.params_schema();
        entry["nip90Params"] = self.nip90_params();
        entry
    }
}

/// The whole catalogue: what all kinds share, and each by its number. The codec adds example events.
pub fn catalogue() -> Value {
    let kinds: Map<String, Value> =
        all().iter().map(|schema| (schema.kind.to_string(), schema.to_json())).collect();
    json!({
        "version": VERSION,
        "updated": UPDATED,
        "official_spec": "https://github.com/nostr-protocol/data-vending-machines",
        "common": common(),
        "kinds": kinds,
    })
}

impl Category {
    /// Its word, as in the files.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Media => "media",
            Self::Discovery => "discovery",
            Self::Protocol => "protocol",
            Self::Code => "code",
            Self::Agent => "agent",
            Self::Primitive => "primitive",
            Self::Safety => "safety",
        }
    }
}

impl ParamSpec {
    /// The values it may have, where they can be listed.
    pub fn words(&self) -> Vec<String> {
        match self.value_type {
            ParamType::Boolean => vec!["true".into(), "false".into()],
            _ => self.one_of.clone(),
        }
    }

    /// What it may be as a JSON Schema.
    pub fn json_schema(&self) -> Value {
        let mut schema = match self.value_type {
            ParamType::Array => {
                let items = match self.items {
                    None | Some(ItemType::String) => "string",
                    Some(ItemType::Number) => "number",
                    Some(ItemType::Object) => "object",
                };
                let mut array = json!({ "type": "array", "items": self.bounds_of(items) });
                put(&mut array, "minItems", self.min_items.map(Value::from));
                put(&mut array, "maxItems", self.max_items.map(Value::from));
                array
            }
            scalar => self.bounds_of(scalar.word()),
        };
        schema["description"] = self.about.clone().into();
        put(&mut schema, "default", self.default.clone());
        schema
    }

    fn bounds_of(&self, word: &str) -> Value {
        let mut schema = json!({ "type": word });
        put(&mut schema, "minimum", self.minimum.map(number));
        put(&mut schema, "maximum", self.maximum.map(number));
        put(&mut schema, "pattern", self.pattern.clone().map(Value::from));
        put(&mut schema, "enum", (!self.one_of.is_empty()).then(|| json!(self.one_of)));
        schema
    }
}

impl ParamType {
    /// JSON Schema's word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Array => "array",
            Self::Object => "object",
        }
    }
}

fn put(schema: &mut Value, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        schema[name] = value;
    }
}

/// A bound without `.0`, which some readers take for a fraction.
fn number(bound: f64) -> Value {
    serde_json::from_str(&bound.to_string()).unwrap_or_else(|_| Value::from(bound))
}
