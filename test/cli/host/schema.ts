// As much of JSON Schema (draft 2020-12) as our schemas use; a keyword that is not here fails the test.

type Schema = Readonly<Record<string, unknown>>;
/** Keywords that say nothing about a value. */
const annotations = new Set(['$schema', '$id', '$defs', 'title', 'description', 'default']);

const typeOf = (value: unknown): string => (value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value);
const isObject = (value: unknown): value is Readonly<Record<string, unknown>> => typeOf(value) === 'object';
const hasType = (value: unknown, type: unknown): boolean =>
  Array.isArray(type) ? type.some((one) => hasType(value, one)) : type === 'integer' ? Number.isInteger(value) : typeOf(value) === type;

/** What the schema has against a value, as paths with keywords; empty: nothing. */
export function violations(root: Schema, value: unknown, schema: Schema = root, path = ''): string[] {
  const own = (wrong: boolean, keyword: string): string[] => (wrong ? [`${path}: ${keyword}`] : []);
  return Object.entries(schema).flatMap(([keyword, wanted]): string[] => {
    if (annotations.has(keyword)) return [];
    switch (keyword) {
      case '$ref':
        return violations(root, value, (root['$defs'] as Record<string, Schema>)[String(wanted).replace('#/$defs/', '')] as Schema, path);
      case 'type':
        return own(!hasType(value, wanted), keyword);
      case 'const':
        return own(value !== wanted, keyword);
      case 'enum':
        return own(!(wanted as unknown[]).includes(value), keyword);
      case 'anyOf':
        return own(!(wanted as Schema[]).some((one) => violations(root, value, one, path).length === 0), keyword);
      case 'pattern':
        return own(typeof value === 'string' && !new RegExp(String(wanted), 'u').test(value), keyword);
      case 'minLength':
        return own(typeof value === 'string' && [...value].length < Number(wanted), keyword);
      case 'minimum':
        return own(typeof value === 'number' && value < Number(wanted), keyword);
      case 'maximum':
        return own(typeof value === 'number' && value > Number(wanted), keyword);
      case 'required':
        return (wanted as string[]).flatMap((key) => own(isObject(value) && !Object.hasOwn(value, key), `required ${key}`));
      case 'properties':
        return Object.entries(wanted as Record<string, Schema>).flatMap(([key, inner]) =>
          isObject(value) && Object.hasOwn(value, key) ? violations(root, value[key], inner, `${path}.${key}`) : [],
        );
      case 'additionalProperties':
        return isObject(value)
          ? Object.keys(value).flatMap((key) => own(!Object.hasOwn(schema['properties'] as object, key), `additional ${key}`))
          : [];
      case 'items':
        return Array.isArray(value) ? value.flatMap((item, i) => violations(root, item, wanted as Schema, `${path}[${i}]`)) : [];
      case 'uniqueItems':
        return own(Array.isArray(value) && new Set(value.map((item) => JSON.stringify(item))).size < value.length, keyword);
      default:
        throw new Error(`this test knows nothing of ${keyword}`);
    }
  });
}
