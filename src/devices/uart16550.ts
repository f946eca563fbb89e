// National Semiconductor PC16550D: UART with 16-byte FIFOs, eight registers. Section numbers are those of its data sheet
// (June 1995, section 8 "Registers"). The wire is infinitely fast: a byte written is sent at once, so the transmitter is always
// empty, and received bytes below the trigger level count as timed out at once. Word length and parity do not alter what is
// sent: the other end takes bytes as written. On a PC the INTR pin reaches the interrupt controller only while OUT2 is on.

import type { Line, PortDevice } from './device.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

const Register = { DATA: 0, IER: 1, IIR_FCR: 2, LCR: 3, MCR: 4, LSR: 5, MSR: 6, SCR: 7 } as const;
const Ier = { RECEIVED_DATA: 1 << 0, THR_EMPTY: 1 << 1, LINE_STATUS: 1 << 2, MODEM_STATUS: 1 << 3, ALL: 0x0f } as const;
/** Interrupt identification in order of priority (table IV). */
const Iir = {
  LINE_STATUS: 0x06,
  RECEIVED_DATA: 0x04,
  TIMEOUT: 0x0c,
  THR_EMPTY: 0x02,
  MODEM_STATUS: 0x00,
  NONE: 0x01,
  FIFOS_ON: 0xc0,
} as const;
const Fcr = { ENABLE: 1 << 0, CLEAR_RECEIVER: 1 << 1 } as const;
const Lcr = { WORD_LENGTH: 3, BREAK: 1 << 6, DLAB: 1 << 7 } as const;
const Mcr = { DTR: 1 << 0, RTS: 1 << 1, OUT1: 1 << 2, OUT2: 1 << 3, LOOP: 1 << 4, ALL: 0x1f } as const;
const Lsr = { DR: 1 << 0, OE: 1 << 1, PE: 1 << 2, FE: 1 << 3, BI: 1 << 4, THRE: 1 << 5, TEMT: 1 << 6, FIFO_ERROR: 1 << 7 } as const;
const ERRORS = Lsr.OE | Lsr.PE | Lsr.FE | Lsr.BI;
const Msr = {
  DCTS: 1 << 0,
  DDSR: 1 << 1,
  TERI: 1 << 2,
  DDCD: 1 << 3,
  CTS: 1 << 4,
  DSR: 1 << 5,
  RI: 1 << 6,
  DCD: 1 << 7,
  DELTAS: 0x0f,
} as const;

const FIFO_SIZE = 16;
const TRIGGERS = [1, 4, 8, 14] as const;

/** What the other end of the cable does: somebody is there, ready to receive, not ringing. */
const CONNECTED = Msr.CTS | Msr.DSR | Msr.DCD;

type Received = { readonly byte: number; readonly errors: number };

/** The other end of the wire. `next` gives the next byte that waits to be received, or undefined; it is asked when there is room. */
export type SerialPeer = { transmit(byte: number): void; next(): number | undefined };

export class Uart16550 implements PortDevice, Stateful {
  readonly name = '16550 UART';
  readonly width = 1;
  readonly #peer: SerialPeer;
  readonly #line: Line;

  #ier = 0;
  #lcr = 0;
  #mcr = 0;
  #scr = 0;
  #divisor = 12; // 9600 baud, as firmware leaves it
  #fifos = false;
  #trigger = 1;
  #modem: number = CONNECTED; // MSR: bits 7:4 lines, 3:0 deltas
  #overrun = 0; // LSR.OE, which belongs to no character
  #errors = 0; // LSR.PE, FE, BI of the character that came to the top
  #thrEmptied = false; // the THR interrupt is asked for: set as THR empties, reset by reading IIR or writing THR
  #received: Received[] = [];
  #level = false;

  constructor(peer: SerialPeer, line: Line = () => {}) {
    this.#peer = peer;
    this.#line = line;
  }

  in(offset: number): number {
    this.#refill();
    const value = this.#read(offset);
    this.#refill();
    this.#update();
    return value;
  }

  out(offset: number, _size: number, value: number): void {
    this.#write(offset, value & 0xff);
    this.#refill();
    this.#update();
  }

  /** Takes what the peer has: call it after giving the peer something, for a guest that waits for the interrupt. */
  poll(): void {
    this.#refill();
    this.#update();
  }

  /** A character arrives, whether there is room or not (8.4 bit 1: the newest is lost). `errors`: LSR bits that come with it. */
  receive(byte: number, errors = 0): void {
    if (this.#received.length < (this.#fifos ? FIFO_SIZE : 1)) {
      this.#received.push({ byte, errors });
      if (this.#received.length === 1) this.#errors |= errors;
    } else {
      this.#overrun = Lsr.OE;
      // Without FIFOs the receiver buffer register is overwritten; with them it is the shift register that is.
      if (!this.#fifos) this.#received[0] = { byte, errors };
    }
    this.#update();
  }

  #read(offset: number): number {
    switch (offset) {
      case Register.DATA:
        return this.#lcr & Lcr.DLAB ? this.#divisor & 0xff : this.#take();
      case Register.IER:
        return this.#lcr & Lcr.DLAB ? this.#divisor >> 8 : this.#ier;
      case Register.IIR_FCR: {
        const cause = this.#cause();
        if (cause === Iir.THR_EMPTY) this.#thrEmptied = false;
        return cause | (this.#fifos ? Iir.FIFOS_ON : 0);
      }
      case Register.LCR:
        return this.#lcr;
      case Register.MCR:
        return this.#mcr;
      case Register.LSR: {
        const status = this.#lineStatus();
        this.#errors = 0;
        this.#overrun = 0;
        return status;
      }
      case Register.MSR: {
        const status = this.#modem;
        this.#modem &= ~Msr.DELTAS;
        return status;
      }
      case Register.SCR:
        return this.#scr;
      default:
        return 0xff;
    }
  }

  #write(offset: number, value: number): void {
    switch (offset) {
      case Register.DATA:
        if (this.#lcr & Lcr.DLAB) this.#divisor = (this.#divisor & 0xff00) | value;
        else this.#send(value);
        return;
      case Register.IER:
        if (this.#lcr & Lcr.DLAB) {
          this.#divisor = (this.#divisor & 0xff) | (value << 8);
          return;
        }
        // Enabling the interrupt while THR is empty raises it (8.6; drivers rely on it to start sending).
        if (value & ~this.#ier & Ier.THR_EMPTY) this.#thrEmptied = true;
        this.#ier = value & Ier.ALL;
        return;
      case Register.IIR_FCR:
        this.#control(value);
        return;
      case Register.LCR:
        // In loopback a break sent is a break received: one character of zeros with BI and FE (8.4 bit 4).
        if (value & ~this.#lcr & Lcr.BREAK && this.#mcr & Mcr.LOOP) this.receive(0, Lsr.BI | Lsr.FE);
        this.#lcr = value;
        return;
      case Register.MCR:
        this.#mcr = value & Mcr.ALL;
        this.#setModemLines(this.#mcr & Mcr.LOOP ? loopedLines(this.#mcr) : CONNECTED);
        return;
      case Register.SCR:
        this.#scr = value;
        return;
      default: // LSR and MSR: not meant to be written (8.4, 8.8)
    }
  }

  /** FCR (8.5). */
  #control(value: number): void {
    const fifos = (value & Fcr.ENABLE) !== 0;
    if (fifos !== this.#fifos || value & Fcr.CLEAR_RECEIVER) this.#clearReceiver();
    this.#fifos = fifos;
    // The other bits count only if bit 0 is written as 1.
    this.#trigger = fifos ? (TRIGGERS[value >> 6] ?? 1) : 1;
  }

  #clearReceiver(): void {
    this.#received = [];
    this.#errors = 0;
  }

  #send(byte: number): void {
    this.#thrEmptied = false;
    this.#update(); // the line falls and rises again: an edge-triggered controller must see it
    if (this.#mcr & Mcr.LOOP) this.receive(byte & (0xff >> (3 - (this.#lcr & Lcr.WORD_LENGTH))));
    else this.#peer.transmit(byte);
    this.#thrEmptied = true;
  }

  #take(): number {
    const top = this.#received.shift();
    const next = this.#received[0];
    if (next !== undefined) this.#errors |= next.errors;
    return top?.byte ?? 0;
  }

  /** Moves what the peer has into the receiver while there is room: nothing is lost to a slow guest. */
  #refill(): void {
    if (this.#mcr & Mcr.LOOP) return; // the SIN pin is disconnected (8.7 bit 4)
    while (this.#received.length < (this.#fifos ? FIFO_SIZE : 1)) {
      const byte = this.#peer.next();
      if (byte === undefined) return;
      this.receive(byte);
    }
  }

  #lineStatus(): number {
    const waiting = this.#received.length > 0 ? Lsr.DR : 0;
    const inFifo = this.#fifos && this.#received.some(({ errors }) => errors !== 0) ? Lsr.FIFO_ERROR : 0;
    return waiting | this.#overrun | this.#errors | Lsr.THRE | Lsr.TEMT | inFifo;
  }

  #setModemLines(lines: number): void {
    const before = this.#modem & ~Msr.DELTAS;
    const changed = (before ^ lines) >> 4;
    // RI counts at its trailing edge only (8.8 bit 2).
    const deltas = (changed & (Msr.DCTS | Msr.DDSR | Msr.DDCD)) | (before & ~lines & Msr.RI ? Msr.TERI : 0);
    this.#modem = lines | (this.#modem & Msr.DELTAS) | deltas;
  }

  /** The interrupt of highest priority that is enabled and asked for (table IV). */
  #cause(): number {
    if (this.#ier & Ier.LINE_STATUS && (this.#errors | this.#overrun) & ERRORS) return Iir.LINE_STATUS;
    if (this.#ier & Ier.RECEIVED_DATA && this.#received.length > 0) {
      return this.#received.length >= this.#trigger ? Iir.RECEIVED_DATA : Iir.TIMEOUT;
    }
    if (this.#ier & Ier.THR_EMPTY && this.#thrEmptied) return Iir.THR_EMPTY;
    if (this.#ier & Ier.MODEM_STATUS && this.#modem & Msr.DELTAS) return Iir.MODEM_STATUS;
    return Iir.NONE;
  }

  #update(): void {
    const enabled = (this.#mcr & (Mcr.OUT2 | Mcr.LOOP)) === Mcr.OUT2; // in loopback the outputs are inactive
    const level = enabled && this.#cause() !== Iir.NONE;
    if (level === this.#level) return;
    this.#level = level;
    this.#line(level);
  }

  exchange(fields: Fields): void {
    this.#ier = fields.value(this.#ier);
    this.#lcr = fields.value(this.#lcr);
    this.#mcr = fields.value(this.#mcr);
    this.#scr = fields.value(this.#scr);
    this.#divisor = fields.value(this.#divisor);
    this.#fifos = fields.value(this.#fifos);
    this.#trigger = fields.value(this.#trigger);
    this.#modem = fields.value(this.#modem);
    this.#overrun = fields.value(this.#overrun);
    this.#errors = fields.value(this.#errors);
    this.#thrEmptied = fields.value(this.#thrEmptied);
    this.#level = fields.value(this.#level);
    fields.list(this.#received);
  }
}

/** MSR lines while the modem outputs are wired back to the inputs (8.7 bit 4). */
function loopedLines(mcr: number): number {
  return (mcr & Mcr.RTS ? Msr.CTS : 0) | (mcr & Mcr.DTR ? Msr.DSR : 0) | (mcr & Mcr.OUT1 ? Msr.RI : 0) | (mcr & Mcr.OUT2 ? Msr.DCD : 0);
}
