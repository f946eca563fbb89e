import { describe, expect, it } from 'vitest';
import { GuestClock } from '../../src/hypervisor/guest-clock.ts';

/** A processor's counts; `run` retires, `sleep` is idle time. */
class Processor {
  time = 0;
  retired = 0;
  elements = 0;
  run(instructions: number, elements = 0): void {
    this.time += instructions;
    this.retired += instructions;
    this.elements += elements;
  }
  sleep(instructions: number): void {
    this.time += instructions;
  }
}

describe('a guest’s clock', () => {
  it('counts what the processor does while it works for the guest', () => {
    const processor = new Processor();
    const clock = new GuestClock();
    processor.run(100, 7);
    clock.enter(processor);
    processor.run(10, 2);
    processor.sleep(5);
    expect(clock).toMatchObject({ time: 15, retired: 10, elements: 2 });
    clock.leave();
    expect(clock).toMatchObject({ time: 15, retired: 10, elements: 2 });
  });

  it('stands while the processor works for others', () => {
    const processor = new Processor();
    const [a, b] = [new GuestClock(), new GuestClock()];
    a.enter(processor);
    processor.run(10);
    a.leave();
    b.enter(processor);
    processor.run(1000);
    processor.sleep(50);
    b.leave();
    a.enter(processor);
    processor.run(1);
    a.leave();
    expect(a.time).toBe(11);
    expect(b).toMatchObject({ time: 1050, retired: 1000 });
  });

  it('goes on where it was on another processor', () => {
    const [first, second] = [new Processor(), new Processor()];
    second.run(12_345, 678);
    const clock = new GuestClock();
    for (const [processor, instructions] of [
      [first, 10],
      [second, 20],
      [first, 30],
    ] as const) {
      clock.enter(processor);
      processor.run(instructions, 1);
      clock.leave();
    }
    expect(clock).toMatchObject({ time: 60, retired: 60, elements: 3 });
  });

  it('says how far it is ahead of a processor: what is to be added to its time-stamp counter', () => {
    const processor = new Processor();
    const clock = new GuestClock();
    processor.run(100);
    expect(clock.ahead(processor)).toBe(-100);
    clock.enter(processor);
    processor.run(50);
    expect(clock.ahead(processor)).toBe(-100);
    clock.leave();
    processor.sleep(1000);
    expect(clock.ahead(processor)).toBe(-1100);
  });
});
