// Records of decoded instructions, by the frame that holds their bytes. One record per instruction, enterable anywhere:
// decoding stops at an instruction that has a record and links to it. Nothing here is visible to a guest: dropping any of it
// at any time only costs time.

import type { EngineMemory } from '../memory/map.ts';
import type { Frames } from '../memory/frames.ts';
import { type Decoded, DecodeProblem, InstructionDecoder } from '../x86/decode.ts';
import type { Mode } from '../x86/form.ts';
import { Record, RECORD_SIZE, Steering } from '../x86/record.ts';
import { FIRST_REGION, type Interpreter } from './interpreter.ts';
import { RecordIndex } from './record-index.ts';
import { writeInstruction, writeSteering } from './record-writer.ts';
import { StoppedRecords } from './stopped-records.ts';
import { Straddlers } from './straddlers.ts';

const PAGE = 4096;
/** Longest run of records that is decoded at once. */
const MOST_RECORDS = 48;
/** More drops than this within so many instructions, and blocks of the page are single instructions. */
const MOST_DROPS = 64;
const DROP_WINDOW = 1_000_000;
/** Bytes given to the decoder at once: it copies them. */
const WINDOW = 512;
const MAX_INSTRUCTION = 15;

/** Consecutive records of one page, and the bytes they came from. */
type Block = { readonly first: number; readonly count: number; readonly start: number; readonly end: number; readonly mode: Mode };
type PageCode = {
  /** Chains of the index, for 16, 32 and 64-bit code; none: there is no such code. */
  readonly chains: [number, number, number];
  blocks: Block[];
  /** Drops since `since`, in retired instructions: a page that modifies itself all the time is decoded one instruction at a time. */
  drops: number;
  since: number;
};

/** Who has compiled code out of records. */
export interface RegionOwner {
  /** Records are about to be stopped. */
  onStop(frame: number, first: number, count: number): void;
  /** Behind the instruction under way RIP is to be looked up: code that is compiled must not go on past it. */
  onHalt(): void;
  /** Everything is forgotten. */
  onReset(): void;
  /** The form of the instruction at which a region is entered. */
  formOf(record: number): number;
  /** The record beside one at which a region was entered, which holds its instruction; 0: there is none. Asked once, when the record goes. */
  takeTwin(record: number): number;
}

const NONE = -1;
const modes: readonly Mode[] = [16, 32, 64];
/** Which of a page's chains a mode has: 0, 1, 2. */
const chainOf = (mode: Mode): 0 | 1 | 2 => (mode >>> 5) as 0 | 1 | 2;

export class CodeCache {
  readonly stopped: StoppedRecords;
  readonly #memory: EngineMemory;
  readonly #frames: Frames;
  readonly #interpreter: Interpreter;
  readonly #decoder = new InstructionDecoder();
  readonly #now: () => number;
  readonly #pages = new Map<number, PageCode>();
  readonly #index: RecordIndex;
  readonly #straddlers = new Straddlers();
  #top: number;
  #single = 0;
  /** Record addresses given out since the last reset are valid while this number stays. */
  generation = 0;
  decoded = 0;
  regions: RegionOwner | null = null;

  /** `now`: instructions retired. */
  constructor(memory: EngineMemory, frames: Frames, interpreter: Interpreter, now: () => number) {
    this.#now = now;
    this.#memory = memory;
    this.#frames = frames;
    this.#interpreter = interpreter;
    this.#top = memory.records;
    this.#decoder.keepsLines = !frames.coherent;
    this.#index = new RecordIndex(memory);
    this.stopped = new StoppedRecords(memory);
    frames.codeOwner = {
      onCodeStore: (frame, offset, length) => this.#dropLines(frame, offset, length),
      onDrop: (frame) => this.#dropFrame(frame),
    };
  }

  /** The record at an offset of a frame, decoding if there is none. A DecodeProblem if the first instruction does not decode. */
  find(frame: number, offset: number, mode: Mode): number | DecodeProblem {
    return this.known(frame, offset, mode) || this.#decodeBlock(frame, offset, mode);
  }

  /** The record of the instruction that begins in one frame and ends in another. */
  findStraddler(first: number, second: number, offset: number, mode: Mode): number | DecodeProblem {
    const known = this.#straddlers.find(first, second, offset, mode);
    if (known !== 0) return known;
    const bytes = new Uint8Array(2 * MAX_INSTRUCTION);
    const { u8 } = this.#memory;
    const from = this.#frames.address(first) + offset;
    const here = PAGE - offset;
    this.#frames.loaded(first, offset, here);
    this.#frames.loaded(second, 0, 1);
    bytes.set(u8.subarray(from, from + here));
    const next = this.#frames.address(second);
    bytes.set(u8.subarray(next, next + bytes.length - here), here);
    let record = 0;
    const problem = this.#decoder.decode(bytes, offset, mode, (d) => {
      record = this.#allocate(2, first);
      writeInstruction(this.#memory.view, this.#interpreter, record, offset, d);
      writeSteering(this.#memory.view, record + RECORD_SIZE, 0, Steering.CROSS, BigInt(offset + d.length));
      this.#frames.watchCode(first, offset, here);
      this.#frames.watchCode(second, 0, d.length - here);
      return false;
    });
    if (problem) return problem;
    this.#interpreter.sync();
    this.#straddlers.add(first, second, offset, mode, record);
    return record;
  }

  /**
   * A record for one instruction, of which no other record knows and which the next call overwrites: for the page that the limit of
   * the code segment cuts, where every instruction must be looked at. The segment ends at offset `end`.
   */
  findSingle(frame: number, offset: number, mode: Mode, end: number): number | DecodeProblem {
    if (this.#single === 0) this.#single = this.#allocate(2, frame);
    const record = this.#single;
    const from = this.#frames.address(frame);
    this.#frames.loaded(frame, offset, Math.min(MAX_INSTRUCTION, end - offset));
    const problem = this.#decoder.decode(this.#memory.u8.subarray(from + offset, from + end), offset, mode, (d) => {
      writeInstruction(this.#memory.view, this.#interpreter, record, offset, d);
      writeSteering(this.#memory.view, record + RECORD_SIZE, 0, Steering.CROSS, BigInt(offset + d.length));
      return false;
    });
    if (problem) return problem;
    this.#interpreter.sync();
    return record;
  }

  /** Points a branch at its target, if the branch still belongs to the frame that the target is in. */
  link(from: number, frame: number, to: number): void {
    const { view } = this.#memory;
    // A record that was stopped meanwhile, or stands in another frame, is left alone.
    if (view.getUint16(from + Record.FORM, true) === Steering.STOP) return;
    if (this.frameOf(from) !== frame) return;
    view.setUint32(from + Record.LINK, to, true);
  }

  /** Is there room for another block? If not, the caller resets, at a moment when no record is in use. */
  get full(): boolean {
    return !this.hasRoom(MOST_RECORDS + 2);
  }

  hasRoom(records: number): boolean {
    return this.#top + records * RECORD_SIZE <= this.#memory.recordsEnd;
  }

  /** The record at an offset of a frame, if there is one. */
  known(frame: number, offset: number, mode: Mode): number {
    const page = this.#pages.get(frame);
    return page === undefined ? 0 : this.#recordOf(page, offset, mode);
  }

  #recordOf(page: PageCode, offset: number, mode: Mode): number {
    const chain = page.chains[chainOf(mode)];
    return chain === NONE ? 0 : this.#index.find(chain, offset);
  }

  /** Is it the record that everybody finds at its place? Not one that is looked at each time. */
  isKnown(record: number): boolean {
    if (this.#straddlers.has(record)) return true;
    const { view } = this.#memory;
    const place = view.getUint16(record + Record.PLACE, true) & 0xfff;
    const page = this.#pages.get(this.frameOf(record));
    return page !== undefined && modes.some((mode) => this.#recordOf(page, place, mode) === record);
  }

  /** The frame that a record belongs to. */
  frameOf(record: number): number {
    const { i32, owners, records } = this.#memory;
    return i32[(owners >>> 2) + (record - records) / RECORD_SIZE]!;
  }

  /** Is the code of a frame worth compiling? Not that of a page that modifies itself all the time. */
  isStable(frame: number): boolean {
    const page = this.#pages.get(frame);
    return page !== undefined && (page.drops <= MOST_DROPS || this.#now() - page.since >= DROP_WINDOW);
  }

  /** A copy of a record, and behind it the way on to what follows it. */
  twin(record: number): number {
    const { u8, view } = this.#memory;
    const twin = this.#allocate(2, this.frameOf(record));
    u8.copyWithin(twin, record, record + RECORD_SIZE);
    const place = view.getUint16(record + Record.PLACE, true);
    const behind = (place & 0xfff) + (place >>> 12);
    // The last instruction of a page is followed by the way to the next page.
    if (behind >= PAGE) writeSteering(view, twin + RECORD_SIZE, 0, Steering.CROSS, BigInt(behind));
    else {
      writeSteering(view, twin + RECORD_SIZE, behind, Steering.LINK, BigInt(behind));
      view.setUint32(twin + RECORD_SIZE + Record.LINK, record + RECORD_SIZE, true);
    }
    return twin;
  }

  #overwrite(record: number): void {
    const twin = this.regions?.takeTwin(record) ?? 0;
    if (twin !== 0) this.#overwrite(twin);
    this.stopped.stop(record);
  }

  /**
   * Generated code leaves behind the instruction of this record (0: none), or between elements of a string instruction, to have RIP
   * looked up: where it would go on by itself stands STOP until `stopped.resume`. Whoever calls has cleared the jump caches.
   */
  haltBehind(record: number): void {
    this.regions?.onHalt();
    if (record === 0) return;
    const form = this.#interpreter.form(this.formOf(record));
    if (form === undefined) return;
    if (form.repeat !== 'none') this.stopped.hold(record);
    if (form.branch === 'page') this.stopped.hold(this.#memory.view.getUint32(record + Record.LINK, true));
    const next = record + RECORD_SIZE;
    const steering = this.#memory.view.getUint16(next + Record.FORM, true);
    if (steering === Steering.LINK) this.stopped.hold(this.#memory.view.getUint32(next + Record.LINK, true));
    else if (steering !== Steering.CROSS) this.stopped.hold(next);
  }

  /** Number of the form that a record's instruction has, or had before it was stopped. */
  formOf(record: number): number {
    const form = this.#memory.view.getUint16(record + Record.FORM, true);
    if (form === Steering.STOP) return this.stopped.formOf(record);
    return form < FIRST_REGION ? form : (this.regions?.formOf(record) ?? Steering.STOP);
  }

  /** Forgets everything. */
  reset(): void {
    this.#decoder.keepsLines = !this.#frames.coherent;
    for (const frame of this.#pages.keys()) this.#frames.unwatchCode(frame);
    for (const frame of this.#straddlers.frames) this.#frames.unwatchCode(frame);
    this.#pages.clear();
    this.#index.clear();
    this.#straddlers.clear();
    this.#single = 0;
    this.stopped.clear();
    const { misses, records, u8 } = this.#memory;
    u8.fill(0, misses, misses + (this.#top - records) / 8);
    this.#top = records;
    this.generation++;
    this.regions?.onReset();
  }

  #decodeBlock(frame: number, start: number, mode: Mode): number | DecodeProblem {
    let page = this.#pages.get(frame);
    if (!page) this.#pages.set(frame, (page = { chains: [NONE, NONE, NONE], blocks: [], drops: 0, since: this.#now() }));
    const chain = this.#chain(page, mode);
    const host = this.#frames.address(frame);
    const single = page.drops > MOST_DROPS && this.#now() - page.since < DROP_WINDOW;
    const most = single ? 1 : MOST_RECORDS;
    const window = Math.min(PAGE, start + (single ? MAX_INSTRUCTION + 1 : WINDOW));
    let end = this.#frames.decodable(frame, start, window);
    const first = this.#top;
    let count = 0;
    let offset = start;
    let ended = false;
    const take = (d: Decoded, at: number): boolean => {
      // A window that ends within the page may cut an instruction: the next block begins with it.
      if (count > 0 && this.#index.find(chain, at) !== 0) return false;
      const record = this.#allocate(1, frame);
      writeInstruction(this.#memory.view, this.#interpreter, record, at, d);
      this.#index.add(chain, at, record);
      count++;
      offset = at + d.length;
      ended = d.ends;
      return !ended && count < most;
    };
    const decode = (): DecodeProblem | undefined =>
      this.#decoder.decode(this.#memory.u8.subarray(host + start, host + end), start, mode, take);
    let problem = decode();
    // The first instruction goes on in a line that the view does not have yet.
    while (count === 0 && problem === DecodeProblem.MORE_BYTES && end < window && end < start + MAX_INSTRUCTION) {
      this.#frames.loaded(frame, end, 1);
      end = this.#frames.decodable(frame, start, window);
      problem = decode();
    }
    if (count === 0) return problem ?? DecodeProblem.MORE_BYTES;
    // What follows the last record: the next instruction, on this page or the next. Behind a jump it is never reached, but a
    // conditional one, a call's return or a routine that comes back needs it.
    if (offset >= PAGE) writeSteering(this.#memory.view, this.#allocate(1, frame), 0, Steering.CROSS, BigInt(offset));
    else if (problem === DecodeProblem.MORE_BYTES && end === PAGE)
      writeSteering(this.#memory.view, this.#allocate(1, frame), offset, Steering.CROSS, BigInt(offset));
    else writeSteering(this.#memory.view, this.#allocate(1, frame), offset, Steering.LINK, BigInt(offset));
    page.blocks.push({ first, count, start, end: offset, mode });
    this.decoded += count;
    this.#frames.watchCode(frame, start, Math.min(offset, PAGE) - start);
    this.#interpreter.sync();
    return first;
  }

  /** A page's chain of one mode. */
  #chain(page: PageCode, mode: Mode): number {
    const n = chainOf(mode);
    if (page.chains[n] === NONE) page.chains[n] = this.#index.open();
    return page.chains[n];
  }

  #allocate(count: number, frame: number): number {
    const { i32, owners, records } = this.#memory;
    const at = this.#top;
    const index = (owners >>> 2) + (at - records) / RECORD_SIZE;
    i32.fill(frame, index, index + count);
    this.#top += count * RECORD_SIZE;
    return at;
  }

  /** Code in these lines is about to change: whoever arrives at a record of its blocks leaves with an exact RIP and decodes anew. */
  #dropLines(frame: number, offset: number, length: number): void {
    const low = offset & ~63;
    const high = (offset + length + 63) & ~63;
    const page = this.#pages.get(frame);
    if (page) {
      page.blocks = page.blocks.filter((block) => block.start >= high || block.end <= low || this.#stop(page, block));
      const now = this.#now();
      if (now - page.since >= DROP_WINDOW) {
        page.since = now;
        page.drops = 0;
      }
      page.drops++;
    }
    this.#dropStraddlers(frame);
    // Only lines that still have code stay watched: data beside code is written at nearly full speed.
    this.#frames.unwatchCode(frame);
    for (const { start, end } of page?.blocks ?? []) this.#frames.watchCode(frame, start, Math.min(end, PAGE) - start);
  }

  #dropFrame(frame: number): void {
    const page = this.#pages.get(frame);
    if (page) {
      for (const block of page.blocks) this.#stop(page, block);
      for (const chain of page.chains) if (chain !== NONE) this.#index.close(chain);
      this.#pages.delete(frame);
    }
    this.#dropStraddlers(frame);
  }

  /** Returns false: the block is no longer to be kept. */
  #stop(page: PageCode, block: Block): boolean {
    const { view } = this.#memory;
    this.regions?.onStop(this.frameOf(block.first), block.first, block.count);
    const chain = this.#chain(page, block.mode);
    for (let k = 0; k < block.count; k++) {
      const at = block.first + k * RECORD_SIZE;
      this.#index.remove(chain, view.getUint16(at + Record.PLACE, true) & 0xfff);
      this.#overwrite(at);
    }
    return false;
  }

  #dropStraddlers(frame: number): void {
    for (const record of this.#straddlers.take(frame)) {
      this.regions?.onStop(this.frameOf(record), record, 1);
      this.#overwrite(record);
    }
  }
}
