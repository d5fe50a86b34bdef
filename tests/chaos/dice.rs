//! Dice that fall the same way whenever they begin with the same number (SplitMix64).

/// A row of throws.
pub struct Dice(u64);

impl Dice {
    /// Dice that begin with a seed. Each who throws has a row of their own, told apart by `who`, so
    /// that nobody's throws depend on how often others have thrown.
    pub fn new(seed: u64, who: u64) -> Self {
        let mut dice = Self(seed ^ who.rotate_left(32));
        dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `from` up to, but not including, `to`.
    pub fn number(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from)
    }

    /// Whether something with so many chances in a hundred happens.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.number(0, 100) < percent
    }

    /// One of these.
    pub fn one_of<'a, T>(&mut self, these: &'a [T]) -> Option<&'a T> {
        let many = these.len() as u64;
        (many > 0).then(|| &these[usize::try_from(self.number(0, many)).unwrap_or_default()])
    }

    /// One of these, by its weight.
    pub fn weighted<T: Copy>(&mut self, these: &[(u64, T)]) -> T {
        let mut left = self.number(0, these.iter().map(|(weight, _)| weight).sum());
        for (weight, it) in these {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return *it,
            }
        }
        unreachable!("less than the sum is left")
    }
}
