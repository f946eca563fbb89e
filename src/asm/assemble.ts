// The assembler: passes over the statements until no label moves, then the bytes. An instruction never shrinks between two
// passes, so the passes settle.

import { UserError } from '../util/errors.ts';
import { encode } from './encoder.ts';
import { evaluateNumber, type Expression, type Scope } from './expression.ts';
import type { Bits } from './forms.ts';
import { evaluateOperand } from './operand.ts';
import { type Body, Parser, type Statement } from './parser.ts';

export type AssembleOptions = {
  /** Decoding mode that the source starts in; a `bits` directive changes it. Default 64. */
  readonly bits?: Bits;
  /** Address of the first byte, unless `org` says otherwise before anything else. Default 0. */
  readonly origin?: bigint;
};
/** The bytes from the origin on, and the address of every label; local labels as label.local. */
export type Assembled = { readonly bytes: Uint8Array; readonly labels: Map<string, bigint> };

const PASS_LIMIT = 64;
const SIZE_LIMIT = 64 * 1024 * 1024;
/** Assumed for an instruction whose operands are still unknown and whose guesses do not fit. */
const TYPICAL_LENGTH = 4n;

/** Assembles Intel syntax; throws a UserError of one line that names the line of the mistake. */
export function assemble(source: string, options: AssembleOptions = {}): Assembled {
  const parser = new Parser();
  const statements = source.split('\n').flatMap((text, n) => {
    const statement = atLine(n + 1, () => parser.parse(text, n + 1));
    return statement ? [statement] : [];
  });
  const sizes = new Map<Body, number[]>();
  let symbols: ReadonlyMap<string, bigint> | null = null;
  for (let count = 0; count < PASS_LIMIT; count++) {
    const pass: Pass = new Pass(options, symbols, sizes);
    for (const statement of statements) atLine(statement.line, () => pass.statement(statement));
    if (symbols && same(symbols, pass.symbols)) return { bytes: pass.output(), labels: pass.labels };
    symbols = pass.symbols;
  }
  throw new UserError('the addresses of the labels do not settle: an org, align, times or equ depends on what follows it');
}

function atLine<T>(line: number, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw error instanceof UserError ? new UserError(`line ${line}: ${error.message}`) : error;
  }
}

function same(a: ReadonlyMap<string, bigint>, b: ReadonlyMap<string, bigint>): boolean {
  return a.size === b.size && [...a].every(([name, value]) => b.get(name) === value);
}

/** One walk over the source. `known` are the symbols of the pass before; the first has none and takes $ for them. */
class Pass {
  readonly symbols = new Map<string, bigint>();
  readonly labels = new Map<string, bigint>();
  readonly #known: ReadonlyMap<string, bigint> | null;
  readonly #sizes: Map<Body, number[]>;
  #bytes = new Uint8Array(4096);
  #length = 0;
  #bits: Bits;
  #origin: bigint;
  /** Whether the present statement used a symbol whose value is not known yet; only ever true in the first pass. */
  #guessed = false;

  constructor(options: AssembleOptions, known: ReadonlyMap<string, bigint> | null, sizes: Map<Body, number[]>) {
    this.#known = known;
    this.#sizes = sizes;
    this.#bits = options.bits ?? 64;
    this.#origin = options.origin ?? 0n;
  }

  output(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  statement({ label, body }: Statement): void {
    if (label !== null) {
      this.#define(label, this.#here());
      this.labels.set(label, this.#here());
    }
    this.#guessed = false;
    if (body) this.#assemble(body, 0);
  }

  #here(): bigint {
    return this.#origin + BigInt(this.#length);
  }

  #define(name: string, value: bigint): void {
    if (this.symbols.has(name)) throw new UserError(`${name} is defined twice`);
    this.symbols.set(name, value);
  }

  #number(expression: Expression): bigint {
    return evaluateNumber(expression, this.#scope());
  }

  #scope(): Scope {
    const here = this.#here();
    const lookup = (name: string): bigint => {
      const value = this.symbols.get(name) ?? this.#known?.get(name);
      if (value !== undefined) return value;
      if (this.#known) throw new UserError(`${name} is not defined`);
      this.#guessed = true;
      return here;
    };
    return { here, origin: this.#origin, lookup };
  }

  /** `repetition`: which round of a `times` this is. */
  #assemble(body: Body, repetition: number): void {
    switch (body.kind) {
      case 'instruction':
        return this.#instruction(body, repetition);
      case 'data':
        for (const item of body.items)
          this.#put(item.kind === 'bytes' ? padded(item.bytes, body.width) : this.#integer(item.value, body.width));
        return;
      case 'reserve':
        return this.#fill(this.#count(body.count) * BigInt(body.width), 0);
      case 'times': {
        const count = this.#count(body.count);
        for (let n = 0n; n < count; n++) this.#assemble(body.body, Number(n));
        return;
      }
      case 'align':
        return this.#align(body);
      case 'org':
        return this.#org(this.#guessedOr(this.#here(), body.address));
      case 'equ':
        return this.#define(body.name, this.#number(body.value));
      case 'bits': {
        const bits = Number(this.#number(body.bits));
        if (bits !== 16 && bits !== 32 && bits !== 64) throw new UserError('bits takes 16, 32 or 64');
        this.#bits = bits;
        return;
      }
      case 'default':
        return;
    }
  }

  #instruction(body: Body & { kind: 'instruction' }, repetition: number): void {
    const scope = this.#scope();
    const operands = body.operands.map((operand) => evaluateOperand(operand, scope, this.#bits, body.prefixes.addressSize));
    let sizes = this.#sizes.get(body);
    if (!sizes) this.#sizes.set(body, (sizes = []));
    const request = { mnemonic: body.mnemonic, prefixes: body.prefixes, operands };
    try {
      const bytes = encode(request, this.#bits, this.#here(), sizes[repetition] ?? 0);
      if (!this.#guessed) sizes[repetition] = bytes.length;
      this.#put(bytes);
    } catch (error) {
      if (!this.#guessed || !(error instanceof UserError)) throw error;
      this.#fill(TYPICAL_LENGTH, 0);
    }
  }

  #integer(expression: Expression, width: number): Uint8Array {
    return little(this.#guessedOr(0n, expression), width);
  }

  /** The value of an expression, or `guess` while it is unknown. */
  #guessedOr(guess: bigint, expression: Expression): bigint {
    const value = this.#number(expression);
    return this.#guessed ? guess : value;
  }

  #count(expression: Expression): bigint {
    const count = this.#guessedOr(0n, expression);
    if (count < 0n) throw new UserError(`${count} is not a number of times`);
    if (count > SIZE_LIMIT) throw new UserError(`${count} times is more than the limit of ${SIZE_LIMIT}`);
    return count;
  }

  #align({ to, fill }: Body & { kind: 'align' }): void {
    const boundary = this.#guessedOr(1n, to);
    if (boundary < 1n || boundary > SIZE_LIMIT || (boundary & (boundary - 1n)) !== 0n)
      throw new UserError(`${boundary} is not a power of two to align to`);
    const byte = fill ? Number(BigInt.asUintN(8, this.#number(fill))) : 0x90;
    this.#fill(-this.#here() & (boundary - 1n), byte);
  }

  /** Before the first byte `org` says where that byte lies; later it fills up to an address. */
  #org(address: bigint): void {
    if (this.#length === 0) {
      this.#origin = BigInt.asUintN(64, address);
      return;
    }
    const gap = address - this.#here();
    if (gap < 0n && !this.#guessed)
      throw new UserError(`org cannot go back from 0x${this.#here().toString(16)} to 0x${address.toString(16)}`);
    this.#fill(gap < 0n ? 0n : gap, 0);
  }

  #fill(count: bigint, byte: number): void {
    if (count <= 0n) return;
    this.#reserve(count);
    this.#bytes.fill(byte, this.#length, this.#length + Number(count));
    this.#length += Number(count);
  }

  #put(bytes: Uint8Array): void {
    this.#reserve(BigInt(bytes.length));
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  #reserve(count: bigint): void {
    const wanted = BigInt(this.#length) + count;
    if (wanted > SIZE_LIMIT) throw new UserError(`the output would exceed ${SIZE_LIMIT} bytes`);
    if (wanted <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(Number(wanted), 2 * this.#bytes.length));
    larger.set(this.#bytes);
    this.#bytes = larger;
  }
}

/** A string in dw, dd or dq is filled up with zeros to whole items. */
function padded(bytes: Uint8Array, width: number): Uint8Array {
  const whole = new Uint8Array(Math.ceil(bytes.length / width) * width);
  whole.set(bytes);
  return whole;
}

function little(value: bigint, width: number): Uint8Array {
  const bits = BigInt(8 * width);
  if (value < -(1n << (bits - 1n)) || value >= 1n << bits)
    throw new UserError(`${value} does not fit in ${width === 1 ? 'a byte' : `${width} bytes`}`);
  return Uint8Array.from({ length: width }, (_, n) => Number((value >> BigInt(8 * n)) & 0xffn));
}
