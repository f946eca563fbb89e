// The interrupt controllers of a PC: two Intel 8259A, the slave's output on IR2 of the master, with the edge/level control registers
// (ELCR) that chipsets since EISA have beside them. Words in capitals are those of the 8259A's data sheet. What is wired on the board
// is fixed here, as in a chipset: ICW3 and buffered mode are taken and change nothing; vectors are those of 8086 mode.
// One thing is kinder than the chip: an edge is remembered until it is acknowledged, even if its input falls before (KVM and QEMU do
// the same, and guests for virtual machines send such short pulses). So "default IR7" is what a vanished level gives.

import type { Line, PortDevice } from './device.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

const Icw1 = { IC4: 1 << 0, SINGLE: 1 << 1, LTIM: 1 << 3, INIT: 1 << 4 } as const;
const Icw4 = { AUTO_EOI: 1 << 1, SPECIAL_FULLY_NESTED: 1 << 4 } as const;
const Ocw2 = { LEVEL: 7, EOI: 1 << 5, SPECIFIC: 1 << 6, ROTATE: 1 << 7 } as const;
const Ocw3 = { OCW3: 1 << 3, READ_ISR: 1 << 0, READ: 1 << 1, POLL: 1 << 2, SMM: 1 << 5, ESMM: 1 << 6 } as const;
const POLLED = 0x80;
const LINES = 8;
const DEFAULT = 7;

/** The word that a write to the odd port is. */
const Expect = { OCW1: 0, ICW2: 2, ICW3: 3, ICW4: 4 } as const;
type Expect = (typeof Expect)[keyof typeof Expect];

/** One chip. Who has it calls for what follows from a change. */
class Pic implements Stateful {
  /** Of ELCR: a bit for each input that is level-triggered. */
  elcr = 0;
  /** Inputs of which another chip's output is one: it counts as it is, and nothing is remembered. */
  readonly #cascade: number;
  /** IR inputs. */
  #inputs = 0;
  /** Edges that were seen and not yet acknowledged. */
  #edges = 0;
  #isr = 0;
  #imr = 0xff;
  #vector = 0;
  /** The level of lowest priority; the next one is the highest. */
  #lowest = DEFAULT;
  #expect: Expect = Expect.OCW1;
  /** It has had all words of its initialization: before, it asks for nothing. */
  #ready = false;
  #icw1 = 0;
  #icw4 = 0;
  #rotateOnAutoEoi = false;
  #specialMask = false;
  #readIsr = false;
  #poll = false;

  constructor(cascade: number) {
    this.#cascade = cascade;
  }

  line(n: number, level: boolean): void {
    const bit = 1 << n;
    if (!level) this.#inputs &= ~bit;
    else if ((this.#inputs & bit) === 0) {
      this.#inputs |= bit;
      this.#edges |= bit;
    }
  }

  /** The interrupt request register. */
  get #irr(): number {
    const levels = ((this.#icw1 & Icw1.LTIM) === 0 ? this.elcr : 0xff) | this.#cascade;
    return (this.#edges & ~levels) | (this.#inputs & levels);
  }

  /** Could an edge at this input become an interrupt that does not wait already? */
  listens(n: number): boolean {
    return this.#ready && ((this.#imr | this.#edges) & (1 << n)) === 0;
  }

  /** The level that the chip asks for; -1: none, its output INT is low. */
  get request(): number {
    const requests = this.#irr & ~this.#imr;
    if (!this.#ready || requests === 0) return -1;
    // In special mask mode a masked level that is in service holds off nobody.
    const serving = this.#specialMask ? this.#isr & ~this.#imr : this.#isr;
    for (let k = 1; k <= LINES; k++) {
      const n = (this.#lowest + k) & 7;
      const bit = 1 << n;
      // In special fully nested mode a slave may ask again while it is served: its own priorities decide.
      const again = (this.#icw4 & Icw4.SPECIAL_FULLY_NESTED) !== 0 && (this.#cascade & bit) !== 0;
      if ((requests & bit) !== 0 && ((serving & bit) === 0 || again)) return n;
      if ((serving & bit) !== 0) return -1;
    }
    return -1;
  }

  /** INTA: the level that it was for, now in service; -1: the request has vanished, and IR7 stands for it. */
  acknowledge(): number {
    const n = this.request;
    if (n < 0) return -1;
    const bit = 1 << n;
    this.#edges &= ~bit;
    if ((this.#icw4 & Icw4.AUTO_EOI) === 0) this.#isr |= bit;
    else if (this.#rotateOnAutoEoi) this.#lowest = n;
    return n;
  }

  vectorOf(n: number): number {
    return this.#vector | (n < 0 ? DEFAULT : n);
  }

  read(odd: boolean): number {
    if (this.#poll) {
      // The read that follows the poll command is the acknowledge.
      this.#poll = false;
      const n = this.acknowledge();
      return n < 0 ? 0 : POLLED | n;
    }
    return odd ? this.#imr : this.#readIsr ? this.#isr : this.#irr;
  }

  write(odd: boolean, value: number): void {
    if (odd) this.#writeOdd(value);
    else if ((value & Icw1.INIT) !== 0) this.#initialise(value);
    else if ((value & Ocw3.OCW3) !== 0) this.#ocw3(value);
    else this.#ocw2(value);
  }

  /** ICW1 resets the edge sense circuit, IMR, priorities, special mask and what is read; without IC4 all of ICW4 is zeros. */
  #initialise(icw1: number): void {
    this.#icw1 = icw1;
    this.#edges = 0;
    this.#isr = 0;
    this.#imr = 0;
    this.#lowest = DEFAULT;
    this.#icw4 = 0;
    this.#rotateOnAutoEoi = false;
    this.#specialMask = false;
    this.#readIsr = false;
    this.#poll = false;
    this.#ready = false;
    this.#expect = Expect.ICW2;
  }

  #writeOdd(value: number): void {
    const fourth = (this.#icw1 & Icw1.IC4) === 0 ? Expect.OCW1 : Expect.ICW4;
    switch (this.#expect) {
      case Expect.OCW1:
        this.#imr = value;
        return;
      case Expect.ICW2:
        this.#vector = value & 0xf8;
        this.#expect = (this.#icw1 & Icw1.SINGLE) === 0 ? Expect.ICW3 : fourth;
        break;
      case Expect.ICW3:
        this.#expect = fourth;
        break;
      case Expect.ICW4:
        this.#icw4 = value;
        this.#expect = Expect.OCW1;
    }
    this.#ready = this.#expect === Expect.OCW1;
  }

  /** End of interrupt and priorities. Without the bit EOI: set priority, or rotation on automatic EOI. */
  #ocw2(value: number): void {
    const rotate = (value & Ocw2.ROTATE) !== 0;
    const specific = (value & Ocw2.SPECIFIC) !== 0;
    if ((value & Ocw2.EOI) === 0) {
      if (!specific) this.#rotateOnAutoEoi = rotate;
      else if (rotate) this.#lowest = value & Ocw2.LEVEL;
      return;
    }
    const n = specific ? value & Ocw2.LEVEL : this.#highestInService();
    if (n < 0) return;
    this.#isr &= ~(1 << n);
    if (rotate) this.#lowest = n;
  }

  /** In special mask mode a non-specific EOI does not end a level that is masked. */
  #highestInService(): number {
    const serving = this.#specialMask ? this.#isr & ~this.#imr : this.#isr;
    for (let k = 1; k <= LINES; k++) {
      const n = (this.#lowest + k) & 7;
      if ((serving & (1 << n)) !== 0) return n;
    }
    return -1;
  }

  #ocw3(value: number): void {
    if ((value & Ocw3.ESMM) !== 0) this.#specialMask = (value & Ocw3.SMM) !== 0;
    if ((value & Ocw3.POLL) !== 0) this.#poll = true;
    else if ((value & Ocw3.READ) !== 0) this.#readIsr = (value & Ocw3.READ_ISR) !== 0;
  }

  exchange(fields: Fields): void {
    this.elcr = fields.value(this.elcr);
    this.#inputs = fields.value(this.#inputs);
    this.#edges = fields.value(this.#edges);
    this.#isr = fields.value(this.#isr);
    this.#imr = fields.value(this.#imr);
    this.#vector = fields.value(this.#vector);
    this.#lowest = fields.value(this.#lowest);
    this.#expect = fields.value(this.#expect);
    this.#ready = fields.value(this.#ready);
    this.#icw1 = fields.value(this.#icw1);
    this.#icw4 = fields.value(this.#icw4);
    this.#rotateOnAutoEoi = fields.value(this.#rotateOnAutoEoi);
    this.#specialMask = fields.value(this.#specialMask);
    this.#readIsr = fields.value(this.#readIsr);
    this.#poll = fields.value(this.#poll);
  }
}

const CASCADE = 2;
const PAIR = 2 * LINES;
/** Timer, keyboard and cascade, real-time clock and coprocessor error are always edges. */
const LEVELS = [0xf8, 0xde] as const;
/** What firmware leaves: vectors 8 to Fh and 70h to 77h, 8086 mode. */
const PC_VECTORS = [0x08, 0x70] as const;
const PC_ICW1 = Icw1.INIT | Icw1.IC4;
const PC_ICW4 = 1;

export class Pic8259Pair implements Stateful {
  readonly #master = new Pic(1 << CASCADE);
  readonly #slave = new Pic(0);
  readonly #output: Line;
  readonly #settle: () => void;
  #level = false;
  /** What it is to the bus. */
  readonly masterPorts: PortDevice;
  readonly slavePorts: PortDevice;
  readonly elcrPorts: PortDevice;

  /** `output`: INT of the master. `settle`: has devices raise what they have to raise by now, before anything is read or changed. */
  constructor(output: Line, settle: () => void = () => {}) {
    this.#output = output;
    this.#settle = settle;
    this.masterPorts = this.#ports('8259 master', this.#master);
    this.slavePorts = this.#ports('8259 slave', this.#slave);
    this.elcrPorts = {
      name: 'edge/level control',
      width: 1,
      in: (offset) => this.#chip(offset).elcr,
      out: (offset, _size, value) => {
        this.#settle();
        this.#chip(offset).elcr = value & (LEVELS[offset] ?? 0);
        this.#update();
      },
    };
  }

  /** As firmware has initialised it. ICW1 leaves no level masked. */
  initialiseAsFirmware(): void {
    for (const [n, vector] of PC_VECTORS.entries()) {
      const chip = this.#chip(n);
      chip.write(false, PC_ICW1);
      for (const word of [vector, n === 0 ? 1 << CASCADE : CASCADE, PC_ICW4]) chip.write(true, word);
    }
    this.#update();
  }

  /** An input, IRQ 0 to 15; on 2 there is the slave, and nobody else. */
  line(irq: number, level: boolean): void {
    if (irq === CASCADE || irq >= PAIR) return;
    if (irq < LINES) this.#master.line(irq, level);
    else this.#slave.line(irq - LINES, level);
    this.#update();
  }

  /** Could an edge of an IRQ of the master become an interrupt that does not wait already? */
  listens(irq: number): boolean {
    return this.#master.listens(irq);
  }

  /** Interrupt acknowledge of the processor: the vector. */
  acknowledge(): number {
    const n = this.#master.acknowledge();
    const vector = n === CASCADE ? this.#slave.vectorOf(this.#slave.acknowledge()) : this.#master.vectorOf(n);
    this.#update();
    return vector;
  }

  #chip(n: number): Pic {
    return n === 0 ? this.#master : this.#slave;
  }

  #ports(name: string, chip: Pic): PortDevice {
    return {
      name,
      width: 1,
      in: (offset) => {
        this.#settle();
        const value = chip.read(offset === 1);
        this.#update();
        return value;
      },
      out: (offset, _size, value) => {
        this.#settle();
        chip.write(offset === 1, value);
        this.#update();
      },
    };
  }

  #update(): void {
    this.#master.line(CASCADE, this.#slave.request >= 0);
    const level = this.#master.request >= 0;
    if (level === this.#level) return;
    this.#level = level;
    this.#output(level);
  }

  exchange(fields: Fields): void {
    fields.part(this.#master);
    fields.part(this.#slave);
    this.#level = fields.value(this.#level);
  }
}
