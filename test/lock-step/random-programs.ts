// Programs at random, for running the same one on two tiers: arithmetic of all widths, memory within and across pages, branches,
// loops in loops, calls direct and computed, a few faults, code that changes itself through another mapping, and code executed at two
// addresses. Registers: rbx data, rsp stack, r13 the second mapping of the code, r14 and r15 count loops; all others are anybody's.

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

const names: Readonly<Record<number, readonly string[]>> = {
  8: ['rax', 'rcx', 'rdx', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12'],
  4: ['eax', 'ecx', 'edx', 'ebp', 'esi', 'edi', 'r8d', 'r9d', 'r10d', 'r11d', 'r12d'],
  2: ['ax', 'cx', 'dx', 'bp', 'si', 'di', 'r8w', 'r9w', 'r10w', 'r11w', 'r12w'],
  1: ['al', 'cl', 'dl', 'bpl', 'sil', 'dil', 'r8b', 'r9b', 'r10b', 'r11b', 'r12b'],
};
const legacyBytes = ['al', 'cl', 'dl', 'ah', 'ch', 'dh'];
const widthNames: Readonly<Record<number, string>> = { 1: 'byte', 2: 'word', 4: 'dword', 8: 'qword' };
const conditions = 'o no b ae e ne be a s ns p np l ge le g'.split(' ');
const sizes = [1, 2, 4, 4, 8, 8] as const;

export class ProgramWriter {
  readonly #random: RandomStream;
  readonly #lines: string[] = [];
  #labels = 0;
  #patches: string[] = [];

  constructor(random: RandomStream) {
    this.#random = random;
  }

  /** Source of a program that ends with HLT. */
  write(): string {
    const functions = 1 + this.#below(3);
    this.#emit(`mov r15d, ${20 + this.#below(60)}`, 'main:');
    this.#body(functions, 2);
    this.#emit('dec r15d', 'jnz main', 'hlt');
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
    this.#emit('push r14', `mov r14d, ${1 + this.#below(12)}`, `${top}:`);
    this.#body(functions, depth - 1);
    this.#emit('dec r14', `jnz ${top}`, 'pop r14');
  }

  /** A branch forward over some instructions. */
  #skip(functions: number): void {
    const end = this.#label();
    if (this.#below(3) !== 0) this.#compare();
    this.#emit(this.#below(8) === 0 ? `jrcxz ${end}` : `j${this.#pick(conditions)} ${end}`);
    for (let k = 1 + this.#below(5); k > 0; k--) this.#instruction();
    if (functions > 0 && this.#below(4) === 0) this.#call(functions);
    this.#emit(`${end}:`);
  }

  #call(functions: number): void {
    const name = `function${this.#below(functions)}`;
    const kind = this.#below(4);
    if (kind < 2) this.#emit(`call ${name}`);
    else {
      this.#emit(`lea rax, [rel ${name}]`);
      // The other mapping of the same code.
      if (kind === 3) this.#emit(`xor eax, ${Layout.CODE ^ Layout.ALIAS}`);
      this.#emit('call rax');
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
      this.#emit('test r15b, 15', `jnz ${end}`, `mov byte [r13 + ${label} - ${Layout.CODE} + ${1 + this.#below(3)}], r15b`, `${end}:`);
    }
  }

  /** Mostly of small numbers: equality and overflow must happen. */
  #compare(): void {
    const size = this.#pick(sizes);
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
    const size = this.#pick(sizes);
    const wide = this.#pick([2, 4, 8] as const);
    const r = this.#register(size);
    const w = this.#register(wide);
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
        `${this.#pick(['movzx', 'movsx'])} ${this.#register(this.#pick([4, 8]))}, ${this.#pick(['byte', 'word'])} [rbx + ${this.#offset()}]`,
      () => `lea ${this.#register(8)}, [${this.#register(8)} + ${this.#register(8)}*${this.#pick([1, 2, 4, 8])} + ${this.#offset()}]`,
      () => `cmov${this.#pick(conditions)} ${w}, ${this.#register(wide)}`,
      () => `set${this.#pick(conditions)} ${this.#register(1)}`,
      () => `xchg ${r}, ${this.#below(2) === 0 ? this.#register(size) : this.#memory(size)}`,
      () => `${this.#pick(['bsf', 'bsr', 'popcnt', 'tzcnt'])} ${w}, ${this.#register(wide)}`,
      () => `${this.#pick(['bt', 'bts', 'btr', 'btc'])} ${w}, ${this.#below(64)}`,
      () => `${this.#pick(['cdq', 'cqo', 'cdqe', 'cbw', 'clc', 'stc', 'cmc', 'lahf', 'sahf', 'nop', 'cld'])}`,
      () => `push ${this.#register(8)}\npop ${this.#register(8)}`,
      () => `pushfq\npop ${this.#register(8)}`,
      () => `xadd ${this.#memory(size)}, ${r}`,
      () => `cmpxchg ${this.#memory(size)}, ${r}`,
      () => `mov ah, ${this.#pick(legacyBytes)}`,
      () => `add ${this.#pick(legacyBytes)}, ${this.#pick(legacyBytes)}`,
      () => `bswap ${this.#register(this.#pick([4, 8]))}`,
      () => `or ecx, 1\nmov edx, 0\ndiv ecx`,
      () => `div ${this.#register(this.#pick([4, 8]))}`,
      () => `lea rdi, [rbx + ${this.#offset()}]\nmov ecx, ${this.#below(40)}\nrep stosb`,
      () =>
        `lea rsi, [rbx + ${this.#offset()}]\nlea rdi, [rbx + ${this.#offset()}]\n${this.#pick(['movsb', 'movsq', 'lodsd', 'stosw', 'scasb', 'cmpsb'])}`,
      () => `movdqu xmm${this.#below(4)}, [rbx + ${this.#offset()}]`,
      () => `movups [rbx + ${this.#offset()}], xmm${this.#below(4)}`,
      () =>
        `${this.#pick(['paddd', 'pxor', 'psubb', 'pmuludq', 'pand', 'punpcklbw', 'addps', 'mulsd', 'addsd'])} xmm${this.#below(4)}, xmm${this.#below(4)}`,
      () => `movq xmm${this.#below(4)}, ${this.#register(8)}`,
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
    if (this.#below(4) !== 0) return `${widthNames[size]} [rbx + ${this.#offset()}]`;
    const index = this.#pick(['r8', 'r9', 'r10', 'r11']);
    this.#emit(`and ${index}d, 0x3ff`);
    return `${widthNames[size]} [rbx + ${index}*${this.#pick([1, 2, 4, 8])} + ${this.#below(64)}]`;
  }

  /** Into the data: mostly the first page, some across the border behind it, few beyond. */
  #offset(): number {
    const kind = this.#below(40);
    if (kind === 0) return 0x2000 + this.#below(0x1f00);
    if (kind < 4) return 0x1000 - 20 + this.#below(24);
    return this.#below(0x800);
  }

  #register(size: number): string {
    return this.#pick(names[size] as readonly string[]);
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
