import { describe, expect, it } from 'vitest';
import { Marks } from '../../tools/bench/marks.ts';

function play(text: string, after: number | null = null): Marks {
  let now = 0;
  const marks = new Marks(() => (now += 1000), after);
  for (const character of text) marks.byte(character.charCodeAt(0));
  return marks;
}

describe('marks', () => {
  it('give the time between begin and end', () => {
    expect(play('[]').seconds).toBe(1);
  });

  it('count once: what else comes over the port changes nothing', () => {
    expect(play('x]y[z[w]]').seconds).toBe(1);
  });

  it('give nothing while one is missing', () => {
    expect(play('').seconds).toBeNull();
    expect(play('[').seconds).toBeNull();
    expect(play(']').seconds).toBeNull();
  });

  it('count only behind a given byte, where a machine writes other things before', () => {
    expect(play('[0x0] boot\u0002[]', 2).seconds).toBe(1);
    expect(play('[]', 2).seconds).toBeNull();
  });
});
