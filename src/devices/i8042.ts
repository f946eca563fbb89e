// Intel 8042 as the keyboard controller of a PC (IBM PC AT Technical Reference, "Keyboard Controller"; its PS/2 successors' commands): the
// controller as drivers probe it, and a keyboard on which nobody types, which answers its commands. There is no auxiliary device.

import type { Line, PortDevice, PortSize } from './device.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

const Status = { OUTPUT_FULL: 1 << 0, SYSTEM: 1 << 2, COMMAND: 1 << 3, NOT_LOCKED: 1 << 4 } as const;
/** Command byte, byte 0 of the controller's RAM. */
const Control = { INTERRUPT: 1 << 0, SYSTEM: 1 << 2, KEYBOARD_OFF: 1 << 4, AUXILIARY_OFF: 1 << 5, TRANSLATE: 1 << 6 } as const;
const Command = {
  READ_RAM: 0x20,
  WRITE_RAM: 0x60,
  AUXILIARY_OFF: 0xa7,
  AUXILIARY_ON: 0xa8,
  AUXILIARY_TEST: 0xa9,
  SELF_TEST: 0xaa,
  KEYBOARD_TEST: 0xab,
  KEYBOARD_OFF: 0xad,
  KEYBOARD_ON: 0xae,
  READ_INPUT: 0xc0,
  READ_OUTPUT: 0xd0,
  WRITE_OUTPUT: 0xd1,
  ECHO: 0xd2,
  AUXILIARY_ECHO: 0xd3,
  AUXILIARY_WRITE: 0xd4,
  PULSE: 0xf0,
} as const;
const SELF_TEST_PASSED = 0x55;
const CLOCK_STUCK_LOW = 0x01;
/** Output port: bit 0 is the processor's reset, low active; bit 1 A20, which is always on here. */
const Output = { NO_RESET: 1 << 0, A20: 1 << 1, FULL: 1 << 4 } as const;
const INPUT_PORT = 0x80; // the keyboard is not locked

/** Commands of the keyboard, and what it says. */
const Keyboard = { ECHO: 0xee, IDENTIFY: 0xf2, RESET: 0xff, LEDS: 0xed, CODE_SET: 0xf0, RATE: 0xf3 } as const;
const ACKNOWLEDGE = 0xfa;
const RESEND = 0xfe;
const TEST_PASSED = 0xaa;
const IDENTITY = [0xab, 0x83] as const;
const WITH_PARAMETER: readonly number[] = [Keyboard.LEDS, Keyboard.CODE_SET, Keyboard.RATE];
/** F4h to F6h: enable, disable, defaults. */
const isPlain = (byte: number): boolean => byte >= 0xf4 && byte <= 0xf6;
/** Bytes that wait for whoever reads them; a guest that never does gets no more. */
const MOST_WAITING = 16;

export class I8042 implements Stateful {
  readonly name = 'keyboard controller';
  readonly #line: Line;
  readonly #reset: () => void;
  readonly #ram = new Uint8Array(32);
  readonly #waiting: number[] = [];
  /** A command of the controller's that waits for its byte; 0: the next byte is the keyboard's. */
  #pending = 0;
  #parameter = false;
  #commandLast = false;
  /** The byte read last stays readable, as in a latch. */
  #last = 0;

  constructor(line: Line, reset: () => void) {
    this.#line = line;
    this.#reset = reset;
    this.#ram[0] = Control.INTERRUPT | Control.SYSTEM | Control.AUXILIARY_OFF | Control.TRANSLATE;
  }

  /** Port 60h. */
  readonly data: PortDevice = {
    name: this.name,
    width: 1,
    in: () => this.#take(),
    out: (_offset: number, _size: PortSize, value: number) => this.#accept(value),
  };

  /** Port 64h. */
  readonly command: PortDevice = {
    name: this.name,
    width: 1,
    in: () => this.#status(),
    out: (_offset: number, _size: PortSize, value: number) => this.#order(value),
  };

  #status(): number {
    const full = this.#waiting.length > 0 ? Status.OUTPUT_FULL : 0;
    return full | ((this.#ram[0] ?? 0) & Status.SYSTEM) | (this.#commandLast ? Status.COMMAND : 0) | Status.NOT_LOCKED;
  }

  #order(command: number): void {
    this.#commandLast = true;
    this.#pending = 0;
    if (command >= Command.READ_RAM && command < Command.READ_RAM + 32) this.#answer(this.#ram[command & 0x1f] ?? 0);
    else if (command >= Command.WRITE_RAM && command < Command.WRITE_RAM + 32) this.#pending = command;
    else if (command >= Command.PULSE) {
      if ((command & Output.NO_RESET) === 0) this.#reset();
    } else this.#execute(command);
  }

  #execute(command: number): void {
    switch (command) {
      case Command.AUXILIARY_OFF:
        return this.#control(Control.AUXILIARY_OFF, true);
      case Command.AUXILIARY_ON:
        return this.#control(Control.AUXILIARY_OFF, false);
      case Command.AUXILIARY_TEST:
        return this.#answer(CLOCK_STUCK_LOW); // nothing is there
      case Command.SELF_TEST:
        this.#ram[0] = (this.#ram[0] ?? 0) | Control.SYSTEM;
        return this.#answer(SELF_TEST_PASSED);
      case Command.KEYBOARD_TEST:
        return this.#answer(0);
      case Command.KEYBOARD_OFF:
        return this.#control(Control.KEYBOARD_OFF, true);
      case Command.KEYBOARD_ON:
        return this.#control(Control.KEYBOARD_OFF, false);
      case Command.READ_INPUT:
        return this.#answer(INPUT_PORT);
      case Command.READ_OUTPUT:
        return this.#answer(Output.NO_RESET | Output.A20 | (this.#waiting.length > 0 ? Output.FULL : 0));
      case Command.WRITE_OUTPUT:
      case Command.ECHO:
      case Command.AUXILIARY_ECHO:
      case Command.AUXILIARY_WRITE:
        this.#pending = command;
    }
  }

  #control(bit: number, set: boolean): void {
    this.#ram[0] = set ? (this.#ram[0] ?? 0) | bit : (this.#ram[0] ?? 0) & ~bit;
    this.#drive();
  }

  /** A byte at port 60h: for the command before, or for the keyboard. */
  #accept(byte: number): void {
    this.#commandLast = false;
    const command = this.#pending;
    this.#pending = 0;
    if (command >= Command.WRITE_RAM && command < Command.WRITE_RAM + 32) {
      this.#ram[command & 0x1f] = byte;
      this.#drive();
    } else if (command === Command.WRITE_OUTPUT) {
      if ((byte & Output.NO_RESET) === 0) this.#reset();
    } else if (command === Command.ECHO || command === Command.AUXILIARY_ECHO) this.#answer(byte);
    else if (command === Command.AUXILIARY_WRITE) this.#answer(RESEND);
    else this.#toKeyboard(byte);
  }

  #toKeyboard(byte: number): void {
    this.#control(Control.KEYBOARD_OFF, false); // whoever talks to the keyboard turns it on
    if (this.#parameter) {
      this.#parameter = false;
      this.#answer(ACKNOWLEDGE);
    } else if (byte === Keyboard.ECHO) this.#answer(Keyboard.ECHO);
    else if (byte === Keyboard.IDENTIFY) this.#answer(ACKNOWLEDGE, ...IDENTITY);
    else if (byte === Keyboard.RESET) this.#answer(ACKNOWLEDGE, TEST_PASSED);
    else if (WITH_PARAMETER.includes(byte)) {
      this.#parameter = true;
      this.#answer(ACKNOWLEDGE);
    } else this.#answer(isPlain(byte) ? ACKNOWLEDGE : RESEND);
  }

  #answer(...bytes: readonly number[]): void {
    for (const byte of bytes) if (this.#waiting.length < MOST_WAITING) this.#waiting.push(byte);
    this.#drive();
  }

  #take(): number {
    const byte = this.#waiting.shift();
    if (byte !== undefined) this.#last = byte;
    this.#line(false); // the line falls between two bytes: an edge for each
    this.#drive();
    return this.#last;
  }

  #drive(): void {
    this.#line(this.#waiting.length > 0 && ((this.#ram[0] ?? 0) & Control.INTERRUPT) !== 0);
  }

  exchange(fields: Fields): void {
    fields.numbers(this.#ram);
    fields.list(this.#waiting);
    this.#pending = fields.value(this.#pending);
    this.#parameter = fields.value(this.#parameter);
    this.#commandLast = fields.value(this.#commandLast);
    this.#last = fields.value(this.#last);
  }
}
