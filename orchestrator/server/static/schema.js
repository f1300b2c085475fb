// What a JSON Schema asks for, as far as a form can: plain words only, everything else is JSON to write by hand.

/** The schema behind references and `| None`: `{schema, nullable}`. */
export function resolved(schema, root, depth = 0) {
  if (depth > 16 || typeof schema !== "object" || schema === null) return { schema: {}, nullable: false };
  if (schema.$ref) {
    const { $ref, ...own } = schema;
    const target = resolved(pointed($ref, root), root, depth + 1);
    return { schema: { ...target.schema, ...own }, nullable: target.nullable };
  }
  const union = schema.anyOf ?? schema.oneOf ?? (schema.allOf?.length === 1 ? schema.allOf : null);
  if (union) {
    const { anyOf, oneOf, allOf, ...own } = schema;
    const others = union.filter((each) => each.type !== "null");
    const nullable = others.length < union.length;
    if (others.length === 1) {
      const inner = resolved(others[0], root, depth + 1);
      return { schema: { ...inner.schema, ...own }, nullable: nullable || inner.nullable };
    }
    return { schema, nullable };
  }
  return { schema, nullable: false };
}

function pointed(reference, root) {
  let found = root;
  for (const part of reference.replace(/^#\//, "").split("/")) {
    found = found?.[part.replace(/~1/g, "/").replace(/~0/g, "~")];
  }
  return found ?? {};
}

/** How a value is entered: file, files, choice, boolean, integer, number, text or json. */
export function kindOf(schema) {
  if (schema.format === "binary") return "file";
  if (schema.type === "array" && schema.items?.format === "binary") return "files";
  if (Array.isArray(schema.enum) || "const" in schema) return "choice";
  if (["boolean", "integer", "number"].includes(schema.type)) return schema.type;
  return schema.type === "string" ? "text" : "json";
}

/** A value that the schema would take. */
export function exampleOf(given, root, depth = 0) {
  const { schema } = resolved(given, root);
  if ("default" in schema) return schema.default;
  if (schema.examples?.length) return schema.examples[0];
  if ("const" in schema) return schema.const;
  if (schema.enum?.length) return schema.enum[0];
  const union = schema.anyOf ?? schema.oneOf ?? schema.allOf;
  if (union?.length && depth < 8) return exampleOf(union[0], root, depth + 1);
  switch (schema.type) {
    case "string": return "text".padEnd(schema.minLength ?? 0, ".");
    case "integer":
    case "number": return schema.minimum ?? ("exclusiveMinimum" in schema ? schema.exclusiveMinimum + 1 : 0);
    case "boolean": return false;
    case "array": return depth < 8 ? [exampleOf(schema.items ?? {}, root, depth + 1)] : [];
    case "object": {
      const entries = Object.entries(depth < 8 ? schema.properties ?? {} : {});
      return Object.fromEntries(entries.map(([name, each]) => [name, exampleOf(each, root, depth + 1)]));
    }
    default: return null;
  }
}

/** A few words on what is taken, for below the field. */
export function wordsOf(schema, kind, nullable) {
  const words = [];
  if (schema.format === "tensor") {
    const shape = schema.shape ? ` [${schema.shape.map((axis) => (axis < 0 ? "any" : axis)).join(", ")}]` : "";
    words.push(`array${schema.dtype ? ` of ${schema.dtype}` : ""}${shape}`);
  } else if (kind === "json") {
    words.push(schema.title && schema.type === "object" ? `JSON: ${schema.title}` : schema.type ? `JSON ${schema.type}` : "JSON");
  } else if (kind !== "choice" && kind !== "boolean") {
    words.push({ file: "file", files: "files" }[kind] ?? kind);
  }
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, minLength, maxLength, pattern } = schema;
  if (minimum !== undefined) words.push(`from ${minimum}`);
  if (exclusiveMinimum !== undefined) words.push(`above ${exclusiveMinimum}`);
  if (maximum !== undefined) words.push(`to ${maximum}`);
  if (exclusiveMaximum !== undefined) words.push(`below ${exclusiveMaximum}`);
  if (minLength !== undefined) words.push(`${minLength} characters or more`);
  if (maxLength !== undefined) words.push(`${maxLength} characters at most`);
  if (pattern !== undefined) words.push(`like ${pattern}`);
  if (nullable) words.push("may be left out");
  return words.join(", ");
}
