// The property that proves the reader: a program runs twice, with other secrets and otherwise the same; whatever comes out differently is labelled.
// Programs are straight-line, since which way a program goes is not followed, and store to addresses that hold no secret.

import { RandomSource, type RandomStream } from '../../src/util/random.ts';
import { gprAt, State } from '../../src/memory/state.ts';
import { PRIVATE_BYTE } from '../../src/x86/label-table.ts';
import { registerNames } from '../instructions/case.ts';
import { LabelledBench } from './labelled-bench.ts';

const MOST_INSTRUCTIONS = 400;
const DATA_BYTES = 4 * 4096;
const wide: Readonly<Record<number, readonly string[]>> = {
  8: ['rax', 'rcx', 'rdx', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15', 'rbp'],
  4: ['eax', 'ecx', 'edx', 'esi', 'edi', 'r8d', 'r9d', 'r10d', 'r11d', 'r12d', 'r13d', 'r14d', 'r15d', 'ebp'],
  2: ['ax', 'cx', 'dx', 'si', 'di', 'r8w', 'r9w', 'r10w', 'r11w', 'r12w', 'r13w', 'r14w', 'r15w', 'bp'],
  1: ['al', 'cl', 'dl', 'sil', 'dil', 'r8b', 'r9b', 'r10b', 'r11b', 'r12b', 'r13b', 'r14b', 'r15b', 'bpl'],
};
const names: Readonly<Record<number, string>> = { 1: 'byte', 2: 'word', 4: 'dword', 8: 'qword', 16: 'oword' };
const conditions = 'o no b ae e ne be a s ns p np l ge le g'.split(' ');
const vectors =
  'paddb paddw paddd paddq psubb psubw psubd psubq pmullw pmulhw pmulhuw pmuludq pmuldq pmulld pmaddwd pmaddubsw pand pandn por pxor pcmpeqb pcmpeqw pcmpeqd pcmpgtb pcmpgtw pcmpgtd pcmpeqq punpcklbw punpckhbw punpcklwd punpckldq punpcklqdq punpckhqdq packsswb packuswb packssdw packusdw pshufb psadbw pavgb pavgw pminub pmaxub pminsw pmaxsw pminsd pmaxud phaddw phaddd psignb psignd pmulhrsw pabsb pabsd psllw psrld psraw psllq psrlq addps mulps subps divps addpd mulpd minps maxpd sqrtps addss mulsd divsd andps orps xorps andnps unpcklps unpckhpd cvtdq2ps cvtps2dq cvttps2dq cvtdq2pd cvtps2pd movaps movapd movdqa movsd movss movhlps movlhps movddup movshdup aesenc aesdec aesenclast aesimc sha256msg1 sha256msg2 sha1nexte pmovzxbw pmovsxwd pmovzxdq phminposuw cmpps_ pshufd_ pshuflw_ shufps_ palignr_ insertps_ pblendw_ pclmulqdq_ dpps_ roundpd_ aeskeygenassist_ mpsadbw_'.split(
    ' ',
  );

/** One program. */
function write(random: RandomStream): string {
  const below = (limit: number): number => random.below(limit);
  const pick = <T>(list: readonly T[]): T => list[below(list.length)] as T;
  const r = (size: number): string => pick(wide[size] as readonly string[]);
  const x = (): string => `xmm${below(8)}`;
  const offset = (): number => (below(12) === 0 ? 4096 - 8 + below(10) : below(8) === 0 ? below(0x3f00) : below(0x300));
  const m = (size: number): string => `${names[size]} [rbx + ${offset()}]`;
  const aligned = (): string => `oword [rbx + ${16 * below(60)}]`;
  const source = (size: number): string => pick([() => r(size), () => String(below(size === 1 ? 128 : 32768)), () => m(size)])();
  const kinds: (() => string)[] = [
    () => ((size) => `mov ${r(size)}, ${source(size)}`)(pick([1, 2, 4, 8])),
    () => ((size) => `mov ${m(size)}, ${r(size)}`)(pick([1, 2, 4, 8])),
    () =>
      ((size) => `${pick(['add', 'sub', 'and', 'or', 'xor', 'adc', 'sbb', 'cmp', 'test'])} ${r(size)}, ${source(size)}`)(
        pick([1, 2, 4, 8]),
      ),
    () => ((size) => `${pick(['add', 'sub', 'and', 'or', 'xor', 'adc', 'sbb', 'cmp'])} ${m(size)}, ${r(size)}`)(pick([1, 2, 4, 8])),
    () => ((a) => `${pick(['xor', 'sub', 'and', 'or', 'sbb'])} ${a}, ${a}`)(r(pick([1, 4, 8]))),
    () => ((size) => `${pick(['inc', 'dec', 'neg', 'not'])} ${below(3) === 0 ? m(size) : r(size)}`)(pick([1, 2, 4, 8])),
    () =>
      ((size) =>
        `${pick(['shl', 'shr', 'sar', 'rol', 'ror', 'rcl', 'rcr'])} ${below(3) === 0 ? m(size) : r(size)}, ${below(3) === 0 ? 'cl' : below(70)}`)(
        pick([1, 2, 4, 8]),
      ),
    () => ((size) => `${pick(['shld', 'shrd'])} ${r(size)}, ${r(size)}, ${below(2) === 0 ? 'cl' : below(size * 8)}`)(pick([2, 4, 8])),
    () => ((size) => `imul ${r(size)}, ${r(size)}${below(2) === 0 ? `, ${below(1000)}` : ''}`)(pick([2, 4, 8])),
    () => ((size) => `${pick(['mul', 'imul'])} ${r(size)}`)(pick([1, 2, 4, 8])),
    () => `${pick(['movzx', 'movsx'])} ${r(pick([4, 8]))}, ${pick([r(1), r(2), m(1), m(2)])}`,
    () => `movsxd ${r(8)}, ${pick([r(4), m(4)])}`,
    () => `lea ${r(pick([4, 8]))}, [${r(8)} + ${r(8)}*${pick([1, 2, 4, 8])} + ${offset()}]`,
    () => ((size) => `cmov${pick(conditions)} ${r(size)}, ${r(size)}`)(pick([2, 4, 8])),
    () => `set${pick(conditions)} ${pick([r(1), m(1)])}`,
    () => ((size) => `xchg ${r(size)}, ${pick([r(size), m(size)])}`)(pick([1, 2, 4, 8])),
    () => ((size) => `${pick(['bsf', 'bsr', 'popcnt', 'tzcnt', 'lzcnt'])} ${r(size)}, ${pick([r(size), m(size)])}`)(pick([2, 4, 8])),
    () => ((size) => `${pick(['bt', 'bts', 'btr', 'btc'])} ${r(size)}, ${below(2) === 0 ? r(size) : below(64)}`)(pick([2, 4, 8])),
    () => pick(['cqo', 'cdqe', 'cdq', 'cbw', 'cwd', 'cwde', 'clc', 'stc', 'cmc', 'lahf', 'sahf', 'nop']),
    () => `push ${r(8)}\npop ${r(8)}`,
    () => `pushfq\npop ${r(8)}`,
    () => ((size) => `xadd ${pick([m(size), r(size)])}, ${r(size)}`)(pick([1, 2, 4, 8])),
    () => ((size) => `cmpxchg ${pick([m(size), r(size)])}, ${r(size)}`)(pick([1, 2, 4, 8])),
    () => `cmpxchg8b qword [rbx + ${offset()}]`,
    () => `cmpxchg16b ${aligned()}`,
    () => `mov ${pick(['ah', 'ch', 'dh'])}, ${pick(['al', 'bl', 'ah', 'ch', 'dl'])}`,
    () => `add ${pick(['ah', 'ch', 'dh'])}, ${pick(['al', 'bl', 'ah', 'ch', 'dl'])}`,
    () => `bswap ${r(pick([4, 8]))}`,
    () => `movbe ${r(4)}, ${m(4)}`,
    () => `or ecx, 1\nxor edx, edx\ndiv ecx`,
    () => `or rcx, 1\nxor edx, edx\ndiv rcx`,
    () => `or rcx, 1\nmov edx, 0\nmov ${r(8)}, 3\nidiv rcx`,
    () => `mov edx, 1\nmov rcx, 0x7000000000000000\nor rcx, ${r(8)}\nadd rcx, rcx\nor rcx, 16\nmov edx, 1\ndiv rcx`,
    () => `lea rdi, [rbx + ${offset()}]\nmov ecx, ${below(40)}\nrep ${pick(['stosb', 'stosd', 'stosq'])}`,
    () =>
      `lea rsi, [rbx + ${offset()}]\nlea rdi, [rbx + ${offset()}]\n${pick(['movsb', 'movsw', 'movsd', 'movsq', 'lodsb', 'lodsd', 'stosw', 'scasb', 'scasd', 'cmpsb', 'cmpsq'])}`,
    () => `lea rsi, [rbx + ${offset()}]\nlea rdi, [rbx + ${offset()}]\nmov ecx, ${below(60)}\nrep ${pick(['movsb', 'movsd', 'movsq'])}`,
    () => `movzx ecx, ${r(1)}\nmov ${r(4)}, [rbx + rcx*4]`,
    () => `xlatb`,
    () => `andn ${r(8)}, ${r(8)}, ${r(8)}`,
    () => `${pick(['bextr', 'bzhi', 'shlx', 'shrx', 'sarx'])} ${r(8)}, ${r(8)}, ${r(8)}`,
    () => `${pick(['pdep', 'pext'])} ${r(8)}, ${r(8)}, ${r(8)}`,
    () => `mulx ${r(8)}, ${r(8)}, ${r(8)}`,
    () => `rorx ${r(8)}, ${r(8)}, ${below(64)}`,
    () => `${pick(['blsi', 'blsr', 'blsmsk'])} ${r(8)}, ${r(8)}`,
    () => `${pick(['adcx', 'adox'])} ${r(8)}, ${r(8)}`,
    () => `crc32 ${r(4)}, ${r(1)}`,
    () => `movdqu ${x()}, [rbx + ${offset()}]`,
    () => `movdqu ${x()}, [rbx + ${offset()}]`,
    () => `movups [rbx + ${offset()}], ${x()}`,
    ...Array.from({ length: 14 }, () => () => {
      const name = pick(vectors);
      return name.endsWith('_') ? `${name.slice(0, -1)} ${x()}, ${x()}, ${below(name === 'cmpps_' ? 8 : 256)}` : `${name} ${x()}, ${x()}`;
    }),
    () => ((a) => `${pick(['pxor', 'xorps', 'psubd', 'pcmpeqd'])} ${a}, ${a}`)(x()),
    () => `${pick(['psllw', 'pslld', 'psrlq', 'psrad', 'pslldq', 'psrldq'])} ${x()}, ${below(20)}`,
    () => `movq ${x()}, ${r(8)}`,
    () => `movq ${r(8)}, ${x()}`,
    () => `movd ${x()}, ${r(4)}`,
    () => `movd ${r(4)}, ${x()}`,
    () => `${pick(['movmskps', 'movmskpd', 'pmovmskb'])} ${r(4)}, ${x()}`,
    () => `pextrb ${r(4)}, ${x()}, ${below(16)}`,
    () => `pextrq ${r(8)}, ${x()}, ${below(2)}`,
    () => `pinsrb ${x()}, ${r(4)}, ${below(16)}`,
    () => `pinsrd ${x()}, ${r(4)}, ${below(4)}`,
    () => `cvtsi2sd ${x()}, ${r(4)}`,
    () => `cvttsd2si ${r(8)}, ${x()}`,
    () => `cvtss2si ${r(4)}, ${x()}`,
    () => `${pick(['ucomisd', 'comiss', 'ptest'])} ${x()}, ${x()}`,
    () => `${pick(['pcmpistri', 'pcmpistrm', 'pcmpestri'])} ${x()}, ${x()}, ${below(64)}`,
    () => `${pick(['movlps', 'movhpd', 'movsd', 'movq'])} qword [rbx + ${offset()}], ${x()}`,
    () => `${pick(['movlps', 'movhps'])} ${x()}, qword [rbx + ${offset()}]`,
    () => `movss dword [rbx + ${offset()}], ${x()}`,
    () =>
      `fld ${pick(['dword', 'qword'])} [rbx + ${offset()}]\n${pick(['fsqrt', 'fabs', 'fchs', 'fld1', 'fadd st0, st0', 'nop'])}\nfstp qword [rbx + ${offset()}]\nfninit`,
    () =>
      `fild qword [rbx + ${offset()}]\nfild dword [rbx + ${offset()}]\n${pick(['faddp', 'fmulp', 'fsubp'])}\nfistp qword [rbx + ${offset()}]\nfninit`,
    () => `fxsave [rbx + 1024]`,
    () => `fxsave [rbx + 1024]\nfxrstor [rbx + 1024]`,
    () => 'cpuid',
    () => `rdtsc`,
    () => `movnti ${m(4)}, ${r(4)}`,
    () => `stmxcsr ${m(4)}`,
  ];
  const lines: string[] = [];
  for (let n = 8 + below(40); n > 0; n--) lines.push(pick(kinds)());
  return lines.join('\n');
}

export type SoundnessResult = {
  readonly source: string;
  readonly instructions: number;
  /** What differs without a label; null: nothing. */
  readonly unsound: string | null;
  /** One of the two has faulted: which way a program goes is not followed. */
  readonly parted: boolean;
  /** Bytes of the general registers that have a label at the end. */
  readonly labelled: number;
};

const areas: readonly (readonly [name: string, at: number, length: number])[] = [
  ['register', gprAt(0), 128],
  ['flags', State.FLAG_RESULT, 16],
  ['xmm', State.XMM, 256],
  ['x87', State.X87, 128],
];

export class Soundness {
  readonly #a = new LabelledBench();
  readonly #b = new LabelledBench();

  /** Runs program n, instruction by instruction. */
  run(n: number): SoundnessResult {
    const random = new RandomSource(`taint ${n}`).stream('program');
    const source = write(random);
    const data = random.bytes(DATA_BYTES);
    const values = registerNames.map(() => random.u64());
    const secret = registerNames.map(() => random.below(3) === 0);
    const places = Array.from({ length: 1 + random.below(6) }, () => [random.below(0x300), 1 + random.below(40)] as const);
    const sides = [this.#a, this.#b];
    for (const side of sides) {
      const own = data.slice();
      if (side === this.#b) for (const [at, length] of places) own.set(random.bytes(length), at);
      side.load(source, own);
      for (const [at, length] of places) for (let k = 0; k < length; k++) side.data(at + k, 1).fill(PRIVATE_BYTE);
      for (const [k, name] of registerNames.entries()) {
        if (name === 'rbx' || name === 'rsp') continue;
        const other = secret[k] && side === this.#b;
        // A secret may also differ in some bytes only.
        const value = other ? (random.below(2) === 0 ? random.u64() : values[k]! ^ (0xffn << BigInt(8 * random.below(8)))) : values[k]!;
        side.setRegister(name, value, secret[k] ? PRIVATE_BYTE : 0);
      }
      for (let k = 0; k < 8; k++) side.bench.setU64(State.XMM + 16 * k, data[k]! < 128 ? values[k]! : 0n);
    }
    let instructions = 0;
    for (; instructions < MOST_INSTRUCTIONS; instructions++) {
      const { rip } = this.#a.bench;
      const [x, y] = sides.map((side) => side.run(1)) as [{ kind: string }, { kind: string }];
      if (this.#a.bench.rip !== this.#b.bench.rip || x.kind !== y.kind)
        return { source, instructions, unsound: null, parted: true, labelled: 0 };
      const wrong = this.#registers();
      if (wrong !== null) return { source, instructions, unsound: `${wrong}, at ${rip.toString(16)}`, parted: false, labelled: 0 };
      if (x.kind !== 'limit') break;
    }
    const labelled = this.#a.state(0, 128).filter((label) => label !== 0).length;
    return { source, instructions, unsound: this.#memory(), parted: false, labelled };
  }

  #registers(): string | null {
    const [a, b] = [this.#a, this.#b];
    for (const [name, at, length] of areas) {
      const labels = a.state(at, length);
      const x = a.bench.memory.u8.subarray(a.bench.state + at, a.bench.state + at + length);
      const y = b.bench.memory.u8.subarray(b.bench.state + at, b.bench.state + at + length);
      for (let k = 0; k < length; k++) if (x[k] !== y[k] && (labels[k]! & PRIVATE_BYTE) === 0) return `${name} byte ${k}`;
    }
    return null;
  }

  #memory(): string | null {
    const [x, y] = [this.#a.dataBytes(), this.#b.dataBytes()];
    for (let k = 0; k < x.length; k++)
      if (x[k] !== y[k] && (this.#a.data(k, 1)[0]! & PRIVATE_BYTE) === 0) return `memory at ${k.toString(16)}`;
    return null;
  }
}
