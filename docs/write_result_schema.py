"""Write docs/result.schema.json, the JSON Schema of a result file, from the code that reads it."""

import json
from pathlib import Path

from espnet_edge.runtime.result import SCHEMA_VERSION, Result


def schema_text() -> str:
    """The text of the schema, the same every time."""
    schema = Result.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = f"espnet-edge result, schema version {SCHEMA_VERSION}"
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("result.schema.json").write_text(schema_text())
