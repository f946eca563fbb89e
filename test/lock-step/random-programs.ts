// Programs at random, for running the same one on two tiers: arithmetic of all widths, memory within and across pages, branches,
// loops in loops, calls direct and computed, a few faults, code that changes itself through another mapping, and code executed at two
// addresses. Registers: rbx data, rsp stack, rbp counts the outer loop; all others are anybody's. In 32-bit programs the data segment may
// begin elsewhere than at 0.

import type { RandomStream } from '../../src/util/random.ts';

export const Layout = {
  CODE: 0x1000_0000,
  CODE_SIZE: 0x2000,
  /** The same pages, writable and executable. */
  ALIAS: 0x1800_0000,
  DATA: 0x2000_0000,
  DATA_SIZE: 0x4000,
  /** A page among the data that is mapped when it is first missed. */
  LATE: 0x2000_2000,
  STACK: 0x3000_0000,
} as const;

type Bits = 64 | 32;
/** What the writer may name. */
type Dialect = {
  readonly registers: Readonly<Record<number, readonly string[]>>;
  readonly indices: readonly string[];
  /** Width of addresses and of the stack. */
  readonly word: 8 | 4;
  readonly data: string;
  readonly outer: string;
};
const dialects: Readonly<Record<Bits, Dialect>> = {
  64: {
    registers: {
      8: ['rax', 'rcx', 'rdx', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'],
      4: ['eax', 'ecx', 'edx', 'esi', 'edi', 'r8d', 'r9d', 'r10d', 'r11d', 'r12d', 'r13d', 'r14d', 'r15d'],
      2: ['ax', 'cx', 'dx', 'si', 'di', 'r8w', 'r9w', 'r10w', 'r11w', 'r12w', 'r13w', 'r14w', 'r15w'],
      1: ['al', 'cl', 'dl', 'sil', 'dil', 'r8b', 'r9b', 'r10b', 'r11b', 'r12b', 'r13b', 'r14b', 'r15b'],
    },
    indices: ['r8', 'r9', 'r10', 'r11'],
    word: 8,
    data: 'rbx',
    outer: 'ebp',
  },
  32: {
    registers: { 4: ['eax', 'ecx', 'edx', 'esi', 'edi'], 2: ['ax', 'cx', 'dx', 'si', 'di'], 1: ['al', 'cl', 'dl', 'ah', 'ch', 'dh'] },
    indices: ['esi', 'edi', 'eax'],
    word: 4,
    data: 'ebx',
    outer: 'ebp',
  },
};
const legacyBytes = ['al', 'cl', 'dl', 'ah', 'ch', 'dh'];
const widthNames: Readonly<Record<number, string>> = { 1: 'byte', 2: 'word', 4: 'dword', 8: 'qword' };
const conditions = 'o no b ae e ne be a s ns p np l ge le g'.split(' ');

export class ProgramWriter {
  readonly #random: RandomStream;
  readonly #bits: Bits;
  readonly #dialect: Dialect;
  readonly #sizes: readonly number[];
  readonly #wide: readonly number[];
  /** Linear address at which data segments begin. */
  readonly #base: number;
  readonly #lines: string[] = [];
  #labels = 0;
  #patches: string[] = [];

  constructor(random: RandomStream, bits: Bits = 64, base = 0) {
    this.#random = random;
    this.#bits = bits;
    this.#dialect = dialects[bits];
    this.#sizes = bits === 64 ? [1, 2, 4, 4, 8, 8] : [1, 2, 4, 4];
    this.#wide = bits === 64 ? [2, 4, 8] : [2, 4];
    this.#base = base;
  }

  /** Source of a program that ends with HLT. */
  write(): string {
    const functions = 1 + this.#below(3);
    const { outer } = this.#dialect;
    if (this.#bits === 32) this.#emit('bits 32');
    this.#emit(`mov ${outer}, ${20 + this.#below(60)}`, 'main:');
    this.#body(functions, 2);
    this.#emit(`dec ${outer}`, 'jnz main', 'hlt');
    for (let n = 0; n < functions; n++) {
      // Some functions lie across the border of the pages.
      if (this.#below(3) === 0) this.#emit(`times ${this.#below(1200)} db 0x90`);
      this.#emit(`function${n}:`);
      this.#body(0, 1);
      this.#emit(this.#below(4) === 0 ? 'ret 0' : 'ret');
    }
    return this.#lines.join('\n');
  }

  #body(functions: number, depth: number): void {
    const pieces = 3 + this.#below(6);
    for (let n = 0; n < pieces; n++) {
      const kind = this.#below(12);
      if (kind === 0 && depth > 0) this.#loop(functions, depth);
      else if (kind === 1) this.#skip(functions);
      else if (kind <= 3 && functions > 0) this.#call(functions);
      else if (kind === 4 && this.#below(2) === 0) this.#change();
      else for (let k = 1 + this.#below(6); k > 0; k--) this.#instruction();
    }
  }

  #loop(functions: number, depth: number): void {
    const top = this.#label();
    const { word } = this.#dialect;
    const stack = word === 8 ? 'rsp' : 'esp';
    this.#emit(`push ${1 + this.#below(12)}`, `${top}:`);
    this.#body(functions, depth - 1);
    this.#emit(`dec ${widthNames[word]} [${stack}]`, `jnz ${top}`, `lea ${stack}, [${stack} + ${word}]`);
  }

  /** A branch forward over some instructions. */
  #skip(functions: number): void {
    const end = this.#label();
    if (this.#below(3) !== 0) this.#compare();
    this.#emit(this.#below(8) === 0 ? `${this.#bits === 64 ? 'jrcxz' : 'jecxz'} ${end}` : `j${this.#pick(conditions)} ${end}`);
    for (let k = 1 + this.#below(5); k > 0; k--) this.#instruction();
    if (functions > 0 && this.#below(4) === 0) this.#call(functions);
    this.#emit(`${end}:`);
  }

  #call(functions: number): void {
    const name = `function${this.#below(functions)}`;
    const kind = this.#below(4);
    if (kind < 2) this.#emit(`call ${name}`);
    else {
      this.#emit(this.#bits === 64 ? `lea rax, [rel ${name}]` : `mov eax, ${name}`);
      // The other mapping of the same code.
      if (kind === 3) this.#emit(`xor eax, ${Layout.CODE ^ Layout.ALIAS}`);
      this.#emit(this.#bits === 64 ? 'call rax' : 'call eax');
    }
  }

  /** Puts another number into an instruction, here or elsewhere. */
  #change(): void {
    if (this.#patches.length === 0 || this.#below(2) === 0) {
      const label = this.#label();
      this.#patches.push(label);
      this.#emit(`${label}:`, `mov ${this.#pick(['eax', 'ecx', 'edx', 'esi'])}, ${this.#below(1 << 30)}`);
    } else {
      const label = this.#pick(this.#patches);
      // Not every time: code that changes all the time is not compiled.
      const end = this.#label();
      const { outer } = this.#dialect;
      const place = `${label} + ${Layout.ALIAS - Layout.CODE - this.#base + 1 + this.#below(3)}`;
      this.#emit(`test ${outer}, 15`, `jnz ${end}`, `mov eax, ${outer}`, `mov byte [${place}], al`, `${end}:`);
    }
  }

  /** Mostly of small numbers: equality and overflow must happen. */
  #compare(): void {
    const size = this.#pick(this.#sizes);
    const r = this.#register(size);
    const operation = this.#pick(['cmp', 'cmp', 'test', 'sub', 'add', 'dec', 'inc']);
    if (this.#below(3) === 0) this.#emit(`${this.#pick(['cmp', 'test', 'sub'])} ${r}, ${this.#source(size)}`);
    else if (operation === 'dec' || operation === 'inc') this.#emit(`and ${r}, 1`, `${operation} ${r}`);
    else {
      this.#emit(`and ${r}, 3`);
      if (this.#below(3) === 0) this.#emit(`add ${r}, ${size === 1 ? 126 : size === 2 ? 32766 : 0}`);
      this.#emit(`${operation} ${r}, ${this.#below(4)}`);
    }
    if (this.#below(2) === 0) this.#emit(`set${this.#pick(conditions)} ${this.#register(1)}`);
    if (this.#below(3) === 0) this.#emit(`cmov${this.#pick(conditions)} ${this.#register(4)}, ${this.#register(4)}`);
  }

  #instruction(): void {
    const size = this.#pick(this.#sizes);
    const wide = this.#pick(this.#wide);
    const r = this.#register(size);
    const w = this.#register(wide);
    const { data, word } = this.#dialect;
    const [si, di] = word === 8 ? ['rsi', 'rdi'] : ['esi', 'edi'];
    const choices: (() => string)[] = [
      () => `mov ${r}, ${this.#source(size)}`,
      () => `mov ${this.#memory(size)}, ${r}`,
      () => `${this.#pick(['add', 'sub', 'and', 'or', 'xor', 'adc', 'sbb', 'cmp', 'test'])} ${r}, ${this.#source(size)}`,
      () => `${this.#pick(['add', 'sub', 'and', 'or', 'xor', 'adc', 'sbb', 'cmp'])} ${this.#memory(size)}, ${r}`,
      () => `${this.#pick(['inc', 'dec', 'neg', 'not'])} ${this.#below(3) === 0 ? this.#memory(size) : r}`,
      () => `${this.#pick(['shl', 'shr', 'sar', 'rol', 'ror', 'rcl', 'rcr'])} ${r}, ${this.#below(3) === 0 ? 'cl' : this.#below(70)}`,
      () => `${this.#pick(['shld', 'shrd'])} ${w}, ${this.#register(wide)}, ${this.#below(2) === 0 ? 'cl' : this.#below(wide * 8)}`,
      () => `imul ${w}, ${this.#register(wide)}`,
      () => `${this.#pick(['mul', 'imul'])} ${r}`,
      () =>
        `${this.#pick(['movzx', 'movsx'])} ${this.#register(this.#whole)}, ${this.#pick(['byte', 'word'])} [${data} + ${this.#offset()}]`,
      () =>
        `lea ${this.#register(word)}, [${this.#register(word)} + ${this.#register(word)}*${this.#pick([1, 2, 4, 8])} + ${this.#offset()}]`,
      () => `cmov${this.#pick(conditions)} ${w}, ${this.#register(wide)}`,
      () => `set${this.#pick(conditions)} ${this.#register(1)}`,
      () => `xchg ${r}, ${this.#below(2) === 0 ? this.#register(size) : this.#memory(size)}`,
      () => `${this.#pick(['bsf', 'bsr', 'popcnt', 'tzcnt'])} ${w}, ${this.#register(wide)}`,
      () => `${this.#pick(['bt', 'bts', 'btr', 'btc'])} ${w}, ${this.#below(64)}`,
      () =>
        `${this.#pick([...(word === 8 ? ['cqo', 'cdqe'] : ['cwd', 'cwde']), 'cdq', 'cbw', 'clc', 'stc', 'cmc', 'lahf', 'sahf', 'nop', 'cld'])}`,
      () => `push ${this.#register(word)}\npop ${this.#register(word)}`,
      () => `${word === 8 ? 'pushfq' : 'pushfd'}\npop ${this.#register(word)}`,
      () => `xadd ${this.#memory(size)}, ${r}`,
      () => `cmpxchg ${this.#memory(size)}, ${r}`,
      () => `mov ah, ${this.#pick(legacyBytes)}`,
      () => `add ${this.#pick(legacyBytes)}, ${this.#pick(legacyBytes)}`,
      () => `bswap ${this.#register(this.#whole)}`,
      () => `or ecx, 1\nmov edx, 0\ndiv ecx`,
      () => `div ${this.#register(this.#whole)}`,
      () => `lea ${di}, [${data} + ${this.#offset()}]\nmov ecx, ${this.#below(40)}\nrep ${this.#pick(['stosb', 'stosd'])}`,
      () =>
        `lea ${si}, [${data} + ${this.#offset()}]\nlea ${di}, [${data} + ${this.#offset()}]\n${this.#pick(['movsb', 'movsd', 'lodsd', 'stosw', 'scasb', 'cmpsb'])}`,
      () =>
        `lea ${si}, [${data} + ${this.#offset()}]\nlea ${di}, [${data} + ${this.#offset()}]\nmov ecx, ${this.#below(60)}\n${this.#pick(['rep movsb', 'rep movsd', 'repe cmpsb', 'repne scasb'])}`,
      () => `movdqu xmm${this.#below(4)}, [${data} + ${this.#offset()}]`,
      () => `movups [${data} + ${this.#offset()}], xmm${this.#below(4)}`,
      () =>
        `${this.#pick(['paddd', 'pxor', 'psubb', 'pmuludq', 'pand', 'punpcklbw', 'addps', 'mulsd', 'addsd'])} xmm${this.#below(4)}, xmm${this.#below(4)}`,
      () => `${word === 8 ? 'movq' : 'movd'} xmm${this.#below(4)}, ${this.#register(word)}`,
      () => `movd ${this.#register(4)}, xmm${this.#below(4)}`,
      () => `cvtsi2sd xmm${this.#below(4)}, ${this.#register(4)}`,
      () => `ucomisd xmm${this.#below(4)}, xmm${this.#below(4)}`,
    ];
    // Division faults too often to be as frequent as the rest.
    const n = this.#below(choices.length);
    const chosen = choices[n] as () => string;
    const text = chosen();
    this.#emit(...(text.startsWith('div ') && this.#below(12) !== 0 ? ['nop'] : text.split('\n')));
  }

  #source(size: number): string {
    const kind = this.#below(3);
    if (kind === 0) return this.#register(size);
    return kind === 1 ? String(this.#below(size === 1 ? 128 : 32768)) : this.#memory(size);
  }

  #memory(size: number): string {
    const { data } = this.#dialect;
    // Code can be read in 32-bit mode, and not written.
    const override = this.#bits === 32 && this.#below(12) === 0 ? this.#pick(this.#below(8) === 0 ? ['cs:'] : ['es:', 'fs:', 'ds:']) : '';
    if (this.#below(4) !== 0) return `${widthNames[size]} [${override}${data} + ${this.#offset()}]`;
    const index = this.#pick(this.#dialect.indices);
    this.#emit(`and ${index}, 0x3ff`);
    return `${widthNames[size]} [${data} + ${index}*${this.#pick([1, 2, 4, 8])} + ${this.#below(64)}]`;
  }

  /** Into the data: mostly the first page, some across the border behind it, few beyond. */
  #offset(): number {
    const kind = this.#below(40);
    if (kind === 0) return 0x2000 + this.#below(0x1f00);
    if (kind < 4) return 0x1000 - 20 + this.#below(24);
    return this.#below(0x800);
  }

  #register(size: number): string {
    return this.#pick(this.#dialect.registers[size] as readonly string[]);
  }

  /** 4 or more. */
  get #whole(): number {
    return this.#bits === 64 ? this.#pick([4, 8]) : 4;
  }

  #label(): string {
    return `label${this.#labels++}`;
  }

  #emit(...lines: readonly string[]): void {
    this.#lines.push(...lines);
  }

  #pick<T>(list: readonly T[]): T {
    return list[this.#below(list.length)] as T;
  }

  #below(limit: number): number {
    return this.#random.below(limit);
  }
}
