// MEASURE against published vectors. Publication 55766, LAUNCH_MEASURE.

import { expect, it } from 'vitest';
import { launchMeasurement } from '../../firmware/measurement.ts';
import { launchDigest, measureLaunch } from '../second-implementation.ts';
import { hex } from './box.ts';

const fromHex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'hex'));
const fromBase64 = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'base64'));

const vectors = [
  {
    origin: 'virtee/sev',
    given: {
      tik: fromHex('66320db73158a35a255d051758e95ed4'),
      apiMajor: 0,
      apiMinor: 18,
      build: 0x0f,
      policy: 0,
      digest: launchDigest(),
      nonce: fromHex('4fbe0bedbad6c86ae8f68971d103e554'),
    },
    measure: '6faab2daae389bcd3405a05d6cafe33c0414f7bedd0bae19ba5f38b7fd1664ea',
  },
  {
    origin: 'virtee/sevctl',
    given: {
      tik: fromHex('3569cf61a32a602b87185ac6e0f55913'),
      apiMajor: 1,
      apiMinor: 40,
      build: 40,
      policy: 3,
      digest: fromBase64('xkvRAfyaSizgonxAjZIAkR8TmolUabBKQKb6KJCDDSM='),
      nonce: fromBase64('wxP6tRHCFrFQWxsuqZA8QA=='),
    },
    measure: hex(fromBase64('lswbxWxI9gckya16JQvdFtpYmNO4b+3inAPpqsgoBI7DE/q1EcIWsVBbGy6pkDxA').subarray(0, 32)),
  },
  {
    origin: 'a computation apart',
    given: {
      tik: fromHex('202122232425262728292a2b2c2d2e2f'),
      apiMajor: 1,
      apiMinor: 55,
      build: 21,
      policy: 0x1_0001,
      digest: launchDigest(new Uint8Array(4096)),
      nonce: fromHex('404142434445464748494a4b4c4d4e4f'),
    },
    measure: '93d84fbad24d26fa6017de5d629f978b3afe6ed0147b44590531b6910de86094',
  },
];

it.each(vectors)('MEASURE agrees with $origin', ({ given, measure }) => {
  expect(hex(launchMeasurement(given))).toBe(measure);
  const { apiMajor, apiMinor, build, policy, digest, nonce, tik } = given;
  expect(hex(measureLaunch([apiMajor, apiMinor, build], policy, digest, nonce, tik))).toBe(measure);
});

it('a policy with bit 31 set enters as four bytes, little endian', () => {
  const [{ given }] = vectors as [(typeof vectors)[0]];
  const policy = 0x8000_0001;
  expect(hex(launchMeasurement({ ...given, policy }))).toBe(
    hex(measureLaunch([0, 18, 0x0f], policy, given.digest, given.nonce, given.tik)),
  );
});
