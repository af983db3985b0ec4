// Reads a log with HdrHistogram's own reader, adds up its intervals by tag, and prints a line for each tag:
// tag, count, minimum, percentiles 50, 90, 99 and 99.9, maximum. "-" is what has no tag.

import java.io.File;
import java.util.Map;
import java.util.TreeMap;
import org.HdrHistogram.EncodableHistogram;
import org.HdrHistogram.Histogram;
import org.HdrHistogram.HistogramLogReader;

public class ReadHlog {
    public static void main(String[] arguments) throws Exception {
        Map<String, Histogram> sums = new TreeMap<>();
        HistogramLogReader reader = new HistogramLogReader(new File(arguments[0]));
        EncodableHistogram interval;
        while ((interval = reader.nextIntervalHistogram()) != null) {
            String tag = interval.getTag() == null ? "-" : interval.getTag();
            sums.computeIfAbsent(tag, unused -> new Histogram(2)).add((Histogram) interval);
        }
        for (Map.Entry<String, Histogram> entry : sums.entrySet()) {
            Histogram sum = entry.getValue();
            System.out.printf("%s %d %d %d %d %d %d %d%n", entry.getKey(), sum.getTotalCount(), sum.getMinValue(),
                sum.getValueAtPercentile(50), sum.getValueAtPercentile(90), sum.getValueAtPercentile(99),
                sum.getValueAtPercentile(99.9), sum.getMaxValue());
        }
    }
}
