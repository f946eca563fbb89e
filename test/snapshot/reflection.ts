// Every variable that objects reach, private fields and what functions have closed over among them, as a debugger sees them: for the test that no field
// of a component was forgotten.

import { Session } from 'node:inspector';

const session = new Session();
/** What the variables around a module are called while tests run. */
const MODULE = /^__vi|^require$/;

type Remote = {
  readonly objectId?: string;
  readonly type: string;
  readonly value?: unknown;
  readonly unserializableValue?: string;
  readonly description?: string;
};
type Property = { readonly name: string; readonly value?: Remote };
type Properties = {
  readonly result: readonly Property[];
  readonly privateProperties?: readonly Property[];
  readonly internalProperties?: readonly Property[];
};

const exchange = globalThis as unknown as { givenToDebugger: unknown; takenByDebugger: unknown };

function post<T>(method: string, parameters: object): T {
  let answer: T | undefined;
  session.post(method, parameters, (error, result) => {
    if (error) throw error;
    answer = result as T;
  });
  return answer as T;
}

/** The object itself behind what a debugger has of it. */
function real(remote: Remote): unknown {
  if (remote.objectId === undefined) {
    if (remote.unserializableValue === undefined) return remote.value;
    return remote.type === 'bigint' ? BigInt(remote.unserializableValue.slice(0, -1)) : Number(remote.unserializableValue);
  }
  post('Runtime.callFunctionOn', { objectId: remote.objectId, functionDeclaration: 'function () { globalThis.takenByDebugger = this; }' });
  return exchange.takenByDebugger;
}

function properties(objectId: string): Properties {
  return post('Runtime.getProperties', { objectId, ownProperties: true });
}

function remoteOf(object: object): string {
  exchange.givenToDebugger = object;
  return post<{ readonly result: { readonly objectId: string } }>('Runtime.evaluate', { expression: 'globalThis.givenToDebugger' }).result
    .objectId;
}

/** What a function has closed over. */
function closure(object: object): [string, unknown][] {
  const found: [string, unknown][] = [];
  const scopes = properties(remoteOf(object)).internalProperties?.find(({ name }) => name === '[[Scopes]]')?.value?.objectId;
  if (scopes === undefined) return found;
  for (const { value } of properties(scopes).result) {
    if (value?.objectId === undefined || !/^(Closure|Block)/.test(value.description ?? '')) continue;
    const variables = properties(value.objectId).result;
    if (variables.some(({ name }) => MODULE.test(name))) break; // from here on they are modules
    for (const { name, value: variable } of variables) if (variable !== undefined) found.push([`(${name})`, real(variable)]);
  }
  return found;
}

function fieldsOf(object: object): [string, unknown][] {
  const shown = Object.entries(Object.getOwnPropertyDescriptors(object)).flatMap(([name, { value }]): [string, unknown][] => [
    [name, value],
  ]);
  const hidden = properties(remoteOf(object)).privateProperties ?? [];
  return [...shown, ...hidden.flatMap(({ name, value }): [string, unknown][] => (value === undefined ? [] : [[name, real(value)]]))];
}

const numbers = new WeakMap<object, number>();
let last = 0;
function numberOf(object: object): number {
  let number = numbers.get(object);
  if (number === undefined) numbers.set(object, (number = ++last));
  return number;
}

/** By the name of class and field, the values of all fields of that name in the order in which they are found. */
export type Dump = ReadonlyMap<string, readonly string[]>;

/** `skips`: fields that are not followed, as `Class.field`, or all of a class as `Class`. */
export function dump(root: object, skips: ReadonlySet<string>): Dump {
  session.connect();
  const found = new Map<string, string[]>();
  const seen = new Set<object>();
  const queue: [string, unknown][] = [['', root]];
  const note = (name: string, value: string): void => {
    const list = found.get(name);
    if (list === undefined) found.set(name, [value]);
    else list.push(value);
  };
  try {
    for (let at = 0; at < queue.length; at++) {
      const [name, value] = queue[at]!;
      if ((typeof value !== 'object' && typeof value !== 'function') || value === null) {
        note(name, String(value));
        continue;
      }
      if (ArrayBuffer.isView(value)) {
        const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
        if (value.buffer.byteLength < 2 ** 28) note(name, `bytes ${Buffer.from(bytes).toString('base64')}`);
        continue;
      }
      // Which one it is: of those that are not made anew with each value.
      const type = Array.isArray(value) ? 'Array' : (Object.getPrototypeOf(value)?.constructor?.name ?? 'Object');
      if (type !== 'Array' && type !== 'Object') note(name, `${type} ${numberOf(value)}`);
      if (seen.has(value)) continue;
      seen.add(value);
      const add = (field: string, member: unknown): void => {
        if (!skips.has(field)) queue.push([field, member]);
      };
      if (typeof value === 'function') {
        if (!Function.prototype.toString.call(value).startsWith('class'))
          for (const [variable, member] of closure(value)) add(`${name}${variable}`, member);
      } else if (value instanceof Map) for (const pair of value) for (const member of pair) add(`${name}{}`, member);
      else if (value instanceof Set) for (const member of value) add(`${name}{}`, member);
      else if (Array.isArray(value)) {
        note(name, `length ${value.length}`);
        for (const member of value) add(`${name}[]`, member);
      } else {
        if (skips.has(type)) continue;
        for (const [field, member] of fieldsOf(value)) add(type === 'Object' ? `${name}.${field}` : `${type}.${field}`, member);
      }
    }
  } finally {
    session.disconnect();
  }
  return found;
}

/** Names of fields whose values differ. */
export function differing(one: Dump, other: Dump): string[] {
  return [...new Set([...one.keys(), ...other.keys()])]
    .filter((name) => JSON.stringify(one.get(name)) !== JSON.stringify(other.get(name)))
    .sort();
}
