import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import org.apache.lucene.analysis.Analyzer;
import org.apache.lucene.analysis.LowerCaseFilter;
import org.apache.lucene.analysis.Tokenizer;
import org.apache.lucene.analysis.util.CharTokenizer;
import org.apache.lucene.document.BinaryDocValuesField;
import org.apache.lucene.document.Document;
import org.apache.lucene.document.Field;
import org.apache.lucene.document.TextField;
import org.apache.lucene.index.BinaryDocValues;
import org.apache.lucene.index.DirectoryReader;
import org.apache.lucene.index.IndexWriter;
import org.apache.lucene.index.IndexWriterConfig;
import org.apache.lucene.index.LeafReader;
import org.apache.lucene.queryparser.classic.QueryParser;
import org.apache.lucene.search.IndexSearcher;
import org.apache.lucene.search.Query;
import org.apache.lucene.search.ScoreDoc;
import org.apache.lucene.search.TopDocs;
import org.apache.lucene.store.FSDirectory;
import org.apache.lucene.store.MMapDirectory;
import org.apache.lucene.util.BytesRef;
import org.apache.lucene.util.Version;

/**
 * Lucene in one process, for the driver; speaks as bench/search/inside/serving.py describes it.
 *
 * <p>Arguments: FOLDER DOCUMENTS LIMIT QUERIES NUMBER THREADS. The index is built when FOLDER is not
 * there, and merged into one segment. Words are runs of letters and digits in lower case.
 */
public final class Search {
  private static final double MEMORY_MB = 512;
  private final IndexSearcher searcher;
  private final BinaryDocValuesReader ids;
  private final List<String> queries;

  private Search(DirectoryReader reader, List<String> queries) {
    this.searcher = new IndexSearcher(reader);
    searcher.setQueryCache(null); // an answer that is kept would measure the keeping
    this.ids = new BinaryDocValuesReader(reader);
    this.queries = queries;
  }

  /** Reads ids; the index has one segment. */
  private record BinaryDocValuesReader(DirectoryReader reader) {
    String of(ScoreDoc hit) throws IOException {
      LeafReader leaf = reader.leaves().get(0).reader();
      BinaryDocValues values = leaf.getBinaryDocValues("id");
      values.advanceExact(hit.doc);
      return values.binaryValue().utf8ToString();
    }
  }

  private record Hit(String id, float score) {}

  private List<Hit> find(String text, int k) throws Exception {
    Query query = new QueryParser("text", new Words()).parse(text); // a parser is no thread's but one
    TopDocs found = searcher.search(query, k);
    List<Hit> hits = new ArrayList<>(found.scoreDocs.length);
    for (ScoreDoc hit : found.scoreDocs) {
      hits.add(new Hit(ids.of(hit), hit.score));
    }
    return hits;
  }

  private static final class Words extends Analyzer {
    @Override
    protected TokenStreamComponents createComponents(String field) {
      Tokenizer words = CharTokenizer.fromTokenCharPredicate(Character::isLetterOrDigit);
      return new TokenStreamComponents(words, new LowerCaseFilter(words));
    }
  }

  private static void build(Path folder, Path documents, int limit) throws IOException {
    IndexWriterConfig config = new IndexWriterConfig(new Words());
    config.setRAMBufferSizeMB(MEMORY_MB);
    try (FSDirectory directory = new MMapDirectory(folder);
        IndexWriter writer = new IndexWriter(directory, config);
        BufferedReader lines = Files.newBufferedReader(documents)) {
      for (int number = 0; number < limit; number++) {
        String line = lines.readLine();
        if (line == null) {
          break;
        }
        Document document = new Document();
        document.add(new BinaryDocValuesField("id", new BytesRef(member(line, "id"))));
        document.add(new TextField("text", member(line, "text"), Field.Store.NO));
        writer.addDocument(document);
      }
      writer.forceMerge(1);
      writer.commit();
    }
  }

  /** The value of a string member of a JSON object in a line as Python's json.dumps writes it. */
  private static String member(String line, String name) {
    String start = "\"" + name + "\": \"";
    StringBuilder value = new StringBuilder();
    for (int at = line.indexOf(start) + start.length(); line.charAt(at) != '"'; at++) {
      char one = line.charAt(at);
      if (one == '\\') {
        one = line.charAt(++at);
        switch (one) {
          case 'n' -> one = '\n';
          case 't' -> one = '\t';
          case 'r' -> one = '\r';
          case 'b' -> one = '\b';
          case 'f' -> one = '\f';
          case 'u' -> {
            one = (char) Integer.parseInt(line.substring(at + 1, at + 5), 16);
            at += 4;
          }
          default -> {}
        }
      }
      value.append(one);
    }
    return value.toString();
  }

  /** A closed loop: see serving.run. */
  private String run(int threads, int inFlight, int k, double seconds, int count)
      throws Exception {
    long started = System.nanoTime();
    long until = started + (long) (seconds * 1e9);
    ArrayDeque<Long> waiting = new ArrayDeque<>();
    for (int caller = 0; caller < inFlight; caller++) {
      waiting.add(started);
    }
    List<Long> latencies = new ArrayList<>();
    String[] failure = {""};
    int[] counts = {0, 0}; // of queries taken, and of those that failed
    List<Thread> running = new ArrayList<>();
    for (int number = 0; number < Math.min(threads, inFlight); number++) {
      Thread thread =
          new Thread(
              () -> {
                while (true) {
                  String query;
                  long askedAt;
                  synchronized (waiting) {
                    int next = counts[0] % count;
                    if (next == 0 && counts[0] > 0 && System.nanoTime() >= until) {
                      return;
                    }
                    counts[0]++;
                    query = queries.get(next);
                    askedAt = waiting.remove();
                  }
                  String failed = null;
                  try {
                    find(query, k);
                  } catch (Exception error) {
                    failed = error.toString();
                  }
                  long now = System.nanoTime();
                  synchronized (waiting) {
                    waiting.add(now);
                    if (failed == null) {
                      latencies.add((now - askedAt) / 1000);
                    } else {
                      counts[1]++;
                      failure[0] = failed;
                    }
                  }
                }
              });
      thread.start();
      running.add(thread);
    }
    for (Thread thread : running) {
      thread.join();
    }
    double took = (System.nanoTime() - started) / 1e9;
    return "{\"seconds\": %s, \"latencies_us\": %s, \"num_failed\": %d, \"failure\": %s}"
        .formatted(took, latencies, counts[1], quoted(failure[0]));
  }

  private String found(int k) throws Exception {
    List<String> all = new ArrayList<>();
    for (String query : queries) {
      List<String> hits = new ArrayList<>();
      for (Hit hit : find(query, k)) {
        hits.add("[%s, %s]".formatted(quoted(hit.id), hit.score));
      }
      all.add("[null, " + hits + "]");
    }
    return "{\"found\": " + all + "}";
  }

  private static String settings(int threads) {
    String[][] settings = {
      {"threads", "" + threads, "one a core, with one searcher"},
      {"segments", "1", "merged after the build"},
      {"analyser", "CharTokenizer of letters and digits, LowerCaseFilter", "the others' words"},
      {"query cache", "none", "an answer that is kept would measure the keeping"},
      {"MMapDirectory", "by ByteBuffer", "Debian's jar lacks the classes for MemorySegment"},
      {"-Xms, -Xmx", "2g", "far more than it takes, so that collections are rare"},
    };
    List<String> all = new ArrayList<>();
    for (String[] one : settings) {
      all.add("[%s, %s, %s]".formatted(quoted(one[0]), quoted(one[1]), quoted(one[2])));
    }
    return all.toString();
  }

  private static String quoted(String text) {
    return "\"" + text.replace("\\", "\\\\").replace("\"", "\\\"") + "\"";
  }

  private static long diskBytes(Path folder) throws IOException {
    long total = 0;
    try (var files = Files.list(folder)) {
      for (Path file : files.toList()) {
        total += Files.size(file);
      }
    }
    return total;
  }

  /** Build if need be, and answer the driver until it hangs up. */
  public static void main(String[] arguments) throws Exception {
    PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    Path folder = Path.of(arguments[0]);
    int threads = Integer.parseInt(arguments[5]);
    double buildSeconds = 0;
    if (!Files.exists(folder)) {
      long started = System.nanoTime();
      build(folder, Path.of(arguments[1]), Integer.parseInt(arguments[2]));
      buildSeconds = (System.nanoTime() - started) / 1e9;
    }
    List<String> queries = new ArrayList<>();
    for (String line : Files.readAllLines(Path.of(arguments[3]))) {
      queries.add(line.substring(line.indexOf('\t') + 1));
    }
    try (DirectoryReader reader = DirectoryReader.open(new MMapDirectory(folder))) {
      Search search = new Search(reader, queries);
      search.find(queries.get(0), 10);
      out.printf(
          "{\"build_s\": %s, \"disk_bytes\": %d, \"versions\": {\"Lucene\": \"%s\", \"Java\": \"%s\"},"
              + " \"settings\": %s}%n",
          buildSeconds, diskBytes(folder), Version.LATEST, Runtime.version(), settings(threads));
      BufferedReader commands = new BufferedReader(new InputStreamReader(System.in));
      for (String line = commands.readLine(); line != null; line = commands.readLine()) {
        String[] words = line.split(" ");
        if (words[0].equals("run")) {
          int inFlight = Integer.parseInt(words[1]);
          int k = Integer.parseInt(words[2]);
          double seconds = Double.parseDouble(words[3]);
          int count = Math.min(queries.size(), Integer.parseInt(words[4]));
          out.println(search.run(threads, inFlight, k, seconds, count));
        } else {
          out.println(search.found(Integer.parseInt(words[1])));
        }
      }
    }
  }
}
