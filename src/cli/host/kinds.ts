// The kinds of values that a host file has. Each says once what it takes: as JSON Schema for editors, and as the function that reads
// it here. What the schema refuses is refused here, too; the other way round not everything can be said in a schema.

import { UserError } from '../../util/errors.ts';
import { parseAddress, parseCount, parseDate, parseHostMemory, parseMemory, parseModel } from '../options.ts';
import { parseSeed, type Seed } from '../seed.ts';
import { type JsonNode, mistake, type Path, quoted } from './json.ts';
import { nearest } from './nearest.ts';

/** JSON Schema, draft 2020-12. */
export type Schema = { readonly [keyword: string]: unknown };

/** A value of the file, with where it stands. */
export class Spot<N extends JsonNode = JsonNode> {
  readonly file: string;
  readonly path: Path;
  readonly node: N;

  constructor(file: string, path: Path, node: N) {
    this.file = file;
    this.path = path;
    this.node = node;
  }

  step(step: string | number, node: JsonNode): Spot {
    return new Spot(this.file, [...this.path, step], node);
  }

  refuse(what: string): never {
    throw mistake(this.file, this.node, this.path, what);
  }

  /** Runs something that knows the value as an option of the command line: its mistakes are told as ones of this value. */
  reading<T>(read: () => T): T {
    try {
      return read();
    } catch (error) {
      if (error instanceof UserError) return this.refuse(error.message.replace(/^--[a-z-]+:? /, ''));
      throw error;
    }
  }
}

export type Kind<T> = {
  readonly schema: Schema;
  readonly read: (spot: Spot) => T;
};

const names: Readonly<Record<JsonNode['kind'], string>> = {
  object: 'an object',
  array: 'a list',
  string: 'a string',
  number: 'a number',
  boolean: 'true or false',
  null: 'null',
};

/** Refuses a value of another type. `mend`: an example of what would do. */
function refuseType(spot: Spot, wanted: string, mend: string): never {
  const { node } = spot;
  if (node.kind === 'null') return spot.refuse(`null is no value: leave the key out, or write ${wanted} such as ${mend}`);
  return spot.refuse(`is ${names[node.kind]}: write ${wanted} such as ${mend}`);
}

/** A string that says what `pattern` says, and means what `parse` makes of it. */
function text<T>(example: string, schema: Schema, parse: (value: string) => T): Kind<T> {
  return {
    schema: { type: 'string', ...schema },
    read: (spot) => {
      const { node } = spot;
      if (node.kind !== 'string') return refuseType(spot, 'a string', example);
      return spot.reading(() => parse(node.value));
    },
  };
}

/** Any text on its way to the guest; a zero byte would end it there. */
export const line: Kind<string> = text('"quiet"', { pattern: '^[^\\u0000]*$' }, (value) => {
  if (value.includes('\0')) throw new UserError('contains a zero byte: leave it out');
  return value;
});

/** A string for somebody else. */
export const anything: Kind<string> = text('"./host.schema.json"', {}, (value) => value);

export const fileName: Kind<string> = text('"guests/hello"', { minLength: 1, pattern: '^[^\\u0000]+$' }, (value) => {
  if (value === '') throw new UserError('is empty: name a file');
  if (value.includes('\0')) throw new UserError('contains a zero byte, which no file name has: leave it out');
  return value;
});

/** As `xl` has them, and so that no name looks like an ID or an option. */
const NAME = '^[A-Za-z_][A-Za-z0-9_.+-]{0,63}$';
export const guestName: Kind<string> = text('"web"', { pattern: NAME }, (value) => {
  if (value === '') throw new UserError('is empty: give the guest a name');
  if (!new RegExp(NAME).test(value))
    throw new UserError(`${quoted(value)}: begin with a letter, then letters, digits and ._+-, 64 characters at most`);
  return value;
});

export const model = (models: readonly string[]): Kind<string> =>
  text('"milan"', { pattern: `^(${models.join('|')})(,[+-][A-Za-z0-9_.-]+)*$` }, (value) => {
    if (value !== value.toLowerCase() || /\s/.test(value))
      throw new UserError(`${quoted(value)}: write models and features in lower case, without spaces`);
    return parseModel(value);
  });

function sizeOf(example: string, parse: (text: string) => number): Kind<number> {
  return {
    schema: { type: 'string', pattern: '^([0-9]{1,12}|0[xX][0-9a-fA-F]{1,10})\\s*[kKmMgG]?[iI]?[bB]?$' },
    read: (spot) => {
      const { node } = spot;
      // Who comes from xl means MiB, who comes from the command line bytes.
      if (node.kind === 'number') return spot.refuse(`${node.text} of what? Write a string with the unit, such as "${node.text}M"`);
      if (node.kind !== 'string') return refuseType(spot, 'a size', example);
      return spot.reading(() => parse(node.value));
    },
  };
}

/** A guest's memory: what --memory takes. */
export const size = sizeOf('"64M"', parseMemory);

/** All of a host's memory. */
export const hostSize = sizeOf('"64G"', parseHostMemory);

export const date: Kind<number> = text(
  '"2026-01-31"',
  { pattern: '^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?Z?)?$' },
  parseDate,
);

/** A whole number within bounds. */
export function whole(least: number, most: number): Kind<number> {
  return {
    schema: { type: 'integer', minimum: least, maximum: most },
    read: (spot) => {
      const { node } = spot;
      if (node.kind === 'string' && /^\d+$/.test(node.value)) return spot.refuse(`is a string: write ${node.value} without quotes`);
      if (node.kind !== 'number') return refuseType(spot, 'a number', String(least));
      if (!Number.isInteger(node.value) || node.value < least || node.value > most)
        return spot.refuse(`${node.text.slice(0, 40)}: give a whole number from ${least} to ${most}`);
      return node.value;
    },
  };
}

const whatever: Schema = { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER };

/** A whole number, or a string for those that want a notation of their own. */
function numberOrText<T>(example: string, number: Schema, string: Schema, parse: (value: string) => T): Kind<T> {
  return {
    schema: { anyOf: [number, { type: 'string', ...string }] },
    read: (spot) => {
      const { node } = spot;
      if (node.kind !== 'string' && node.kind !== 'number') return refuseType(spot, 'a number or a string', example);
      if (node.kind === 'string') return spot.reading(() => parse(node.value));
      if (node.value > Number.MAX_SAFE_INTEGER)
        return spot.refuse(`${node.text.slice(0, 40)} is too large for a number: put it in double quotes`);
      return spot.reading(() => parse(Number.isInteger(node.value) ? String(node.value) : node.text));
    },
  };
}

/** A count of instructions: 1000000, "1M". */
export function instructions(most = Number.MAX_SAFE_INTEGER): Kind<number> {
  const number = { ...whatever, minimum: 1, maximum: most };
  return numberOrText('"10M"', number, { pattern: '^[0-9][0-9_]*[kKmMgG]?$' }, (value) => {
    const count = parseCount('--max-instructions', value);
    if (count > most) throw new UserError(`${value}: give ${most} at most`);
    return count;
  });
}

export const address: Kind<number> = numberOrText(
  '"0x100000"',
  { ...whatever, maximum: 2 ** 52 - 1 },
  { pattern: '^(0[xX][0-9a-fA-F]{1,13}|[0-9]{1,15})$' },
  (value) => parseAddress('--load', value),
);

export const seed: Kind<Seed> = numberOrText('"random"', whatever, { pattern: '^(random|[0-9]{1,20}|0[xX][0-9a-fA-F]{1,16})$' }, parseSeed);

export const flag: Kind<boolean> = {
  schema: { type: 'boolean' },
  read: (spot) => {
    const { node } = spot;
    if (node.kind === 'boolean') return node.value;
    const meant = node.kind === 'string' ? node.value : node.kind === 'number' ? node.text : '';
    if (/^(true|false)$/.test(meant)) return spot.refuse(`is a string: write ${meant} without quotes`);
    return spot.refuse(`is ${names[node.kind]}: write true or false`);
  },
};

/** One of a few values. */
export function choice<const V extends string | number>(values: readonly V[]): Kind<V> {
  const all = values.map((value) => JSON.stringify(value)).join(', ');
  return {
    schema: { enum: values },
    read: (spot) => {
      const { node } = spot;
      if (node.kind !== 'string' && node.kind !== 'number') return spot.refuse(`is ${names[node.kind]}: write one of ${all}`);
      const found = values.find((value) => value === node.value);
      if (found !== undefined) return found;
      const near = nearest(String(node.value), values.map(String));
      const meant = values.find((value) => String(value) === near);
      const said = node.kind === 'string' ? quoted(node.value) : node.text;
      if (meant !== undefined) return spot.refuse(`${said}: did you mean ${JSON.stringify(meant)}?`);
      return spot.refuse(`${said}: write one of ${all}`);
    },
  };
}

/** A list whose items are checked together by what an option takes: `--intercept a,b`. */
export function list(example: string, check: (values: readonly string[]) => void): Kind<readonly string[]> {
  return {
    schema: { type: 'array', items: { type: 'string', minLength: 1, pattern: '^[^\\u0000]*$' }, uniqueItems: true },
    read: (spot) => {
      const { node } = spot;
      if (node.kind !== 'array') return refuseType(spot, 'a list', `[${example}]`);
      const seen = new Set<string>();
      return node.items.map((item, i) => {
        const at = spot.step(i, item);
        if (item.kind !== 'string') return refuseType(at, 'a string', example);
        if (item.value === '') return at.refuse(`is empty: write a name such as ${example}`);
        if (seen.has(item.value)) return at.refuse(`${quoted(item.value)} stands twice: keep one of them`);
        seen.add(item.value);
        at.reading(() => check([item.value]));
        return item.value;
      });
    },
  };
}
