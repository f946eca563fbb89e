// Puts function bodies together into a WebAssembly module (WebAssembly core specification, 5.5).

import { ByteWriter } from './bytes.ts';
import type { FunctionBuilder, Type } from './function.ts';

type Import = { readonly name: string } & (
  | { readonly kind: 'function'; readonly type: number }
  | { readonly kind: 'memory' }
  | { readonly kind: 'table'; readonly minimum: number }
);

/** Everything is imported from and exported to one namespace. */
export const NAMESPACE = 'cbit';

export class ModuleBuilder {
  readonly #types: Uint8Array[] = [];
  readonly #typeIndex = new Map<string, number>();
  readonly #imports: Import[] = [];
  #importedFunctions = 0;
  readonly #functions: { type: number; body: FunctionBuilder; exported: string | undefined }[] = [];
  readonly #elements: { at: number; function: number }[] = [];

  type(parameters: readonly Type[], results: readonly Type[]): number {
    const key = `${parameters.join()}>${results.join()}`;
    let index = this.#typeIndex.get(key);
    if (index === undefined) {
      index = this.#types.length;
      this.#typeIndex.set(key, index);
      this.#types.push(Uint8Array.of(0x60, parameters.length, ...parameters, results.length, ...results));
    }
    return index;
  }

  /** All function imports come before the first function. Returns the index to call. */
  importFunction(name: string, type: number): number {
    this.#imports.push({ name, kind: 'function', type });
    return this.#importedFunctions++;
  }

  importMemory(name: string): void {
    this.#imports.push({ name, kind: 'memory' });
  }

  importTable(name: string, minimum: number): void {
    this.#imports.push({ name, kind: 'table', minimum });
  }

  function(type: number, body: FunctionBuilder, exported?: string): number {
    this.#functions.push({ type, body, exported });
    return this.#importedFunctions + this.#functions.length - 1;
  }

  /** The imported table holds a function at this place from the module's instantiation on. */
  element(at: number, index: number): void {
    this.#elements.push({ at, function: index });
  }

  build(): Uint8Array<ArrayBuffer> {
    const out = new ByteWriter(4096);
    out.bytes([0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]);
    section(out, 1, this.#types.length, (s) => {
      for (const t of this.#types) s.bytes(t);
    });
    section(out, 2, this.#imports.length, (s) => {
      for (const i of this.#imports) {
        s.name(NAMESPACE);
        s.name(i.name);
        if (i.kind === 'function') {
          s.u8(0x00);
          s.uleb(i.type);
        } else if (i.kind === 'table') {
          s.bytes([0x01, 0x70, 0x00]);
          s.uleb(i.minimum);
        } else s.bytes([0x02, 0x00, 0x01]);
      }
    });
    section(out, 3, this.#functions.length, (s) => {
      for (const f of this.#functions) s.uleb(f.type);
    });
    const exported = this.#functions
      .map((f, k) => [f.exported, this.#importedFunctions + k] as const)
      .filter(([name]) => name !== undefined);
    section(out, 7, exported.length, (s) => {
      for (const [name, index] of exported) {
        s.name(name ?? '');
        s.u8(0x00);
        s.uleb(index);
      }
    });
    section(out, 9, this.#elements.length, (s) => {
      for (const { at, function: index } of this.#elements) {
        s.bytes([0x00, 0x41]);
        s.sleb32(at);
        s.bytes([0x0b, 0x01]);
        s.uleb(index);
      }
    });
    section(out, 10, this.#functions.length, (s) => {
      for (const { body } of this.#functions) {
        const f = new ByteWriter(body.code.length + 64);
        const runs: { count: number; type: Type }[] = [];
        for (const type of body.locals) {
          const last = runs.at(-1);
          if (last?.type === type) last.count++;
          else runs.push({ count: 1, type });
        }
        f.uleb(runs.length);
        for (const { count, type } of runs) {
          f.uleb(count);
          f.u8(type);
        }
        f.bytes(body.code.finish());
        f.u8(0x0b);
        s.uleb(f.length);
        s.bytes(f.finish());
      }
    });
    return out.finish() as Uint8Array<ArrayBuffer>;
  }
}

function section(out: ByteWriter, id: number, count: number, write: (s: ByteWriter) => void): void {
  if (count === 0) return;
  const body = new ByteWriter(1024);
  body.uleb(count);
  write(body);
  out.u8(id);
  out.uleb(body.length);
  out.bytes(body.finish());
}
