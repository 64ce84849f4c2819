//! Files as phones send them, and forms as browsers send files: made once, sent often. Content is noise, so nothing can compress or repeat.

/// A source of noise that is the same in every run.
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            bytes.extend_from_slice(&self.0.to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}

/// A whole JPEG of exactly `bytes` bytes: 8 megapixels, one scan of noise with its FFs stuffed as an encoder does.
pub fn jpeg(bytes: usize) -> Vec<u8> {
    let segment = |marker: u8, payload: &[u8]| {
        let length = u16::try_from(payload.len() + 2).expect("the segments below are short");
        [&[0xFF, marker][..], &length.to_be_bytes(), payload].concat()
    };
    let mut file = vec![0xFF, 0xD8];
    file.extend(segment(0xE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0"));
    file.extend(segment(0xDB, &[1; 65]));
    file.extend(segment(0xC0, &[8, 0x09, 0x60, 0x0D, 0x48, 1, 1, 0x11, 0]));
    file.extend(segment(0xC4, &[0; 17]));
    file.extend(segment(0xDA, &[1, 1, 0, 0, 63, 0]));
    let end = bytes.max(file.len() + 8) - 2;
    let mut noise = Noise::new(7).bytes(end).into_iter();
    while file.len() < end {
        match noise.next().unwrap_or(1) {
            0xFF if file.len() + 2 <= end => file.extend([0xFF, 0]),
            0xFF => file.push(1),
            other => file.push(other),
        }
    }
    file.extend([0xFF, 0xD9]);
    file
}

/// A whole PNG of about `bytes` bytes: stored (uncompressed) noise in chunks of 1 MiB, each with its checksum.
pub fn png(bytes: usize) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut file, b"IHDR", &[0, 0, 0x0D, 0x48, 0, 0, 0x09, 0x60, 8, 2, 0, 0, 0]);
    let noise = Noise::new(8).bytes(bytes);
    for piece in noise.chunks(1 << 20) {
        chunk(&mut file, b"IDAT", piece);
    }
    chunk(&mut file, b"IEND", &[]);
    file
}

fn chunk(file: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    let length = u32::try_from(data.len()).expect("a chunk is at most 1 MiB");
    file.extend_from_slice(&length.to_be_bytes());
    let start = file.len();
    file.extend_from_slice(kind);
    file.extend_from_slice(data);
    let sum = crc32(&file[start..]);
    file.extend_from_slice(&sum.to_be_bytes());
}

fn crc32(data: &[u8]) -> u32 {
    let table: [u32; 256] = std::array::from_fn(|i| (0..8).fold(i as u32, |c, _| if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 }));
    !data.iter().fold(!0, |c, b| table[((c ^ u32::from(*b)) & 255) as usize] ^ (c >> 8))
}

/// A form with one file, as a browser writes it, or the file alone.
pub struct Form {
    pub body: Vec<u8>,
    pub file: u64,
    method: &'static str,
    content_type: String,
}

const BOUNDARY: &str = "----WebKitFormBoundaryHx7nightdrop";

impl Form {
    pub fn of(file: &[u8]) -> Self {
        Self::field("front", file)
    }

    /// With the file in the input of this name.
    pub fn field(name: &str, file: &[u8]) -> Self {
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"IMG 0001.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n"
        );
        let mut body = Vec::with_capacity(file.len() + 512);
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(file);
        body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
        Self {
            body,
            file: file.len() as u64,
            method: "POST",
            content_type: format!("multipart/form-data; boundary={BOUNDARY}"),
        }
    }

    /// The file as the whole body of a PUT.
    pub fn put(file: &[u8]) -> Self {
        Self {
            body: file.to_vec(),
            file: file.len() as u64,
            method: "PUT",
            content_type: "image/jpeg".into(),
        }
    }

    pub fn head(&self, path: &str) -> String {
        format!(
            "{} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\nContent-Type: {}\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            self.method,
            self.content_type,
            self.body.len()
        )
    }
}
