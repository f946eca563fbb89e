// Guests with more VMGEXITs, and more to send, than anybody wants to keep.

import { expect, it } from 'vitest';
import { defaults, UserError } from '../../src/cbit.ts';
import { plan, type Plan } from '../../src/conform/campaign.ts';
import { Output } from '../../src/conform/output.ts';
import { IMAGE, MEMORY } from '../system/small-guest.ts';
import { guest } from './guests.ts';

const TIMES = 20_010;
const MANY = `mov r13d, ${TIMES}\nagain:\nxor eax, eax\nxor ecx, ecx\ncpuid\ndec r13d\njnz again\n`;

function planned(event: () => boolean): Plan {
  const image = { name: 'guest.bin', bytes: guest({ finally: MANY }) };
  const steps = plan({ ...defaults, image, load: IMAGE, memory: MEMORY }, { occurrences: null, event, variant: () => false }, null);
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
  }
}

it('more VMGEXITs than can be judged are a mistake, unless they are narrowed', { timeout: 60_000 }, () => {
  expect(() => planned(() => true)).toThrow(new UserError('more than 20000 VMGEXITs to judge: choose fewer by --event or --occurrences'));
  expect(planned(() => false).vmgexits).toBeGreaterThan(TIMES);
});

const MOST = 1 << 20;
function sent(length: number, last: number): Output {
  const output = new Output();
  for (let n = 1; n < length; n++) output.add(0x41);
  output.add(last);
  return output;
}

it('output is kept up to 1 MiB; what is beyond differs all the same', () => {
  expect(sent(3, 0x42).text).toBe('AAB');
  expect(sent(MOST, 0x42).text).toHaveLength(MOST);
  const [a, b, again] = [sent(2 * MOST, 0x42).text, sent(2 * MOST, 0x43).text, sent(2 * MOST, 0x42).text];
  expect(a).toBe(again);
  expect(a).not.toBe(b);
  expect(a).toMatch(/\n\[1048576 bytes more, checksum [0-9a-f]+\]\n$/);
  expect(a.length).toBeLessThan(MOST + 100);
});

it('output goes back with a snapshot', () => {
  const output = sent(MOST + 5, 0x42);
  const [before, text] = [output.capture(), output.text];
  for (let n = 0; n < 10; n++) output.add(0x43);
  expect(output.text).not.toBe(text);
  output.restore(before);
  expect(output.text).toBe(text);
});
